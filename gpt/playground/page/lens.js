/** The logit lens: what the output layer reads from the stream after the embedding and after each branch. */
/** @import { Run, Tensors } from "./engines/server.js" */
/** @import { Values } from "./predictions.js" */
import { element, note, percent, short, spoken } from "./dom.js";
import { branchesOf } from "./pass.js";
import { ranking, softmax } from "./predictions.js";
import { shownNumber } from "./strips.js";

const BARS = 3;
const ARGUED = 3; // tokens for, and as many against

/** "blocks.1.feed_forward" -> "layer 2, feed-forward". */
function spokenPath(path) {
  const [, layer, rest] = /^(?:blocks\.(\d+)\.)?(.+)$/.exec(path);
  const name = rest === "expected" ? "what the counts add" : rest.replace("_", "-");
  return layer === undefined ? name : `layer ${Number(layer) + 1}, ${name}`;
}

/** @typedef {[path: string, logits: Float32Array]} Point Of the stream, that the output layer can read. */

/** @type {(run: Run, values: Tensors) => Point[]} In their order. */
function points(run, values) {
  const names = ["embedding", "expected", ...branchesOf(run)];
  const order = (path) => {
    const [, layer = "-1", rest] = /^(?:blocks\.(\d+)\.)?(.+)$/.exec(path);
    return [Number(layer), names.indexOf(rest)];
  };
  return Object.keys(values)
    .filter((name) => name.startsWith("lens."))
    .map((name) => name.slice("lens.".length))
    .sort((a, b) => order(a)[0] - order(b)[0] || order(a)[1] - order(b)[1])
    .map((path) => [path, values[`lens.${path}`].data]);
}

/** What the tensors of a forward pass say about each layer; `next` is the token that came next, or null. */
export function lens(/** @type {Run} */ run, /** @type {Tensors} */ values, names, next) {
  const found = points(run, values);
  if (!found.length) return note("There are no layers yet: the table is all there is.");
  const rows = found.map(([path, x], i) => row(spokenPath(path), path, x, found[i - 1]?.[1], names, next));
  if ("trust" in values) rows.push(row("the counts", "counts", values.logits.data, found.at(-1)[1], names, next));
  const said = run.flow.some(({ sum }) => sum)
    ? "The output layer reads the stream early, as if nothing came after it. On the right: whose logits the branch " +
      "raises and lowers most, relative to the mean change of all logits."
    : "The output layer reads each layer’s output, though it was trained to read only the last: without residual " +
      "connections, which come with v5, a layer replaces what it reads.";
  return element(
    "div",
    {},
    note(said + (next === null ? "" : ` Outlined: “${spoken(names[next])}”, which came next.`)),
    element("ol", { class: "lens-rows" }, ...rows),
  );
}

function row(title, path, /** @type {Values} */ x, /** @type {Values | undefined} */ before, names, next) {
  const p = softmax(x);
  const best = ranking(p).slice(0, BARS);
  if (next !== null && !best.includes(next)) best.push(next);
  const bars = best.map((token) => bar(token, p[token], names, token === next));
  return element(
    "li",
    { "data-path": path },
    element("span", { class: "lens-title" }, title),
    element("span", { class: "lens-bars" }, ...bars),
    before ? element("span", { class: "note argued" }, ...argued(x, before, names)) : null,
  );
}

function bar(token, p, names, isNext) {
  return element(
    "span",
    {
      class: isNext ? "lens-bar next" : "lens-bar",
      style: `--p: ${p.toFixed(4)}`,
      "data-token": token,
      title: `${spoken(names[token])} ${percent(p)}${isNext ? ", which came next" : ""}`,
    },
    element("b", {}, short(names[token])),
    percent(p),
  );
}

function argued(x, before, names) {
  const change = Float64Array.from(x, (value, i) => value - before[i]);
  const mean = change.reduce((a, b) => a + b, 0) / change.length;
  const centred = change.map((value) => value - mean);
  const order = ranking(centred);
  const listed = (tokens) =>
    tokens
      .map((token) => `${short(names[token])} ${centred[token] < 0 ? "" : "+"}${shownNumber(centred[token], 2)}`)
      .join(", ");
  return [
    "raises ",
    element("b", {}, listed(order.slice(0, ARGUED))),
    "; lowers ",
    element("b", {}, listed(order.slice(-ARGUED).reverse())),
  ];
}
