/** How far back a run without attention reads: its prediction, tested with shorter and shorter contexts. */
import { described, element, percent, short, spoken } from "./dom.js";
import { Plot } from "./libraries.js";

const EQUAL = 1e-4; // of probability, between two computations of the same
const NARROWEST = 8; // pixels of a bar that can be named

/** Whether the prediction is the same from the last token alone; `moved` is that of inspect.py. */
export function isOfLast(moved) {
  return moved[0] <= EQUAL;
}

/** A chart of how much of the probability moves without the tokens before each of the last ones of a window. */
export function contexts(moved, tokens, width) {
  const n = moved.length;
  const names = tokens.slice(-n);
  const rows = Array.from(moved, (share, i) => ({ place: n - 1 - i, share })); // the last token alone comes first
  const isNamed = width / n >= NARROWEST;
  const picture = Plot.plot({
    width: Math.min(width, 60 + 30 * n),
    height: 150,
    marginLeft: 42,
    marginBottom: 24,
    style: { background: "none", fontFamily: "inherit", fontSize: "12px" },
    x: {
      domain: names.map((_, i) => i),
      label: null,
      tickFormat: (i) => short(names[i]),
      tickSize: 0,
      axis: isNamed ? "bottom" : null,
      padding: 0.15,
    },
    y: { label: null, ticks: 3, tickFormat: (share) => `${Math.round(100 * share)}%`, grid: true, zero: true },
    marks: [Plot.barY(rows, { x: "place", y: "share", fill: "var(--look-colour)" }), Plot.ruleY([0])],
  });
  const said = [1, 2, 4, 8, 16, 32, 64]
    .filter((k) => k <= n)
    .map((k) => `from “${spoken(names[n - k])}” on ${percent(moved[k - 1])}`);
  return element("figure", { class: "contexts" }, described(picture, `What moves: ${said.join(", ")}`));
}
