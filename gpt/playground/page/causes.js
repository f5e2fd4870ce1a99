/** What a prediction rests on, tested by turning parts of the run off. */
/** @import { Tensors } from "./engines/server.js" */
/** @import { Values } from "./predictions.js" */
import { element, percent, short, spoken, table } from "./dom.js";
import { ranking, softmax, totalVariation } from "./predictions.js";

const LITTLE = 0.05; // of the probability moves: then the part that was turned off hardly mattered
const OFF = { without_attention: "all attention", without_counts: "the counts" };

/**
 * The logits `x` of a prediction, against those with parts turned off, as sentences: what the likeliest of the
 * `names` gets instead, and what follows.
 */
export function tested(/** @type {Values} */ x, /** @type {Tensors} */ found, names) {
  const p = softmax(x);
  const likeliest = ranking(p)[0];
  const effects = Object.keys(OFF)
    .filter((part) => part in found)
    .map((part) => {
      const without = softmax(found[part].data);
      return { part, moved: totalVariation(p, without), instead: without[likeliest] };
    });
  if (!effects.length) return "";
  const first = `Tested: the probability of “${spoken(names[likeliest])}” is ${percent(p[likeliest])}`;
  const rest = effects.map(
    ({ part, instead, moved }) =>
      `with ${OFF[part]} off, it is ${percent(instead)}, and ${percent(moved)} of all probability is placed elsewhere`,
  );
  const most = effects.reduce((a, b) => (b.moved > a.moved ? b : a));
  const isMixed = effects.length > 1;
  const verdict =
    isMixed && most.moved >= LITTLE
      ? `${most.part === "without_counts" ? "the counts decide" : "attention decides"} here`
      : `this prediction ${most.moved < LITTLE ? "hardly rests" : "does rest"} on ${isMixed ? "either" : "attention"}`;
  return `${[first, ...rest].join("; ")}. So ${verdict}.`;
}

/**
 * The counts behind a prediction, order by order: the context, its count, the network's trust, and its prediction.
 * @param {Tensors} found
 */
export function countsTable({ counts_p: p, counts_seen: seen, counts_trust: trust }, tokens, names) {
  const [orders, V] = p.shape;
  const row = (n) => {
    const own = p.data.subarray(n * V, (n + 1) * V);
    const likeliest = ranking(own)[0];
    const context = tokens.slice(-n - 1).map(short);
    const cells = [
      n < tokens.length ? context.join("") : "–",
      seen.data[n].toFixed(0),
      trust.data[n].toFixed(2),
      `${short(names[likeliest])} ${percent(own[likeliest])}`,
    ];
    return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
  };
  const rows = Array.from({ length: orders }, (_, n) => row(n));
  const caption = "An occurrence earlier in this text counts six times.";
  return table("counts", ["after", "counted", "trust", "likeliest"], rows, caption);
}
