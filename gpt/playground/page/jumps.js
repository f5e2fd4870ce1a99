/** The way of an answer: from the last token, what each layer looks at most, as arrows in the line itself. */
/** @import { Tensor } from "./engines/server.js" */
import { described, element, percent, short, spoken } from "./dom.js";
import { Plot } from "./libraries.js";

/** The arrows of layers of one head each, [1, T, T], the last layer first; null if they have more heads. */
export function jumps(/** @type {Tensor[]} */ layers, /** @type {string[]} */ tokens, width) {
  if (layers.some(({ shape }) => shape[0] > 1)) return null;
  const T = tokens.length;
  const arrows = [];
  for (let layer = layers.length, from = T - 1; layer > 0; layer--) {
    const row = layers[layer - 1].data.subarray(from * T, from * T + from + 1);
    const to = row.indexOf(Math.max(...row));
    arrows.push({ layer, from, to, weight: row[to] });
    from = to;
  }
  const [place, height] = [Math.min(40, (width - 20) / T), 150];
  const arrow = (rows, y, bend) =>
    Plot.arrow(rows, { x1: "from", x2: "to", y1: y, y2: y, bend, stroke: "var(--look-colour)", strokeWidth: 2 });
  const picture = Plot.plot({
    width: place * T,
    height,
    margin: 0,
    style: { background: "none", overflow: "visible" },
    x: { axis: null, domain: [-0.5, T - 0.5] },
    y: { axis: null, domain: [-1, 1] },
    marks: [
      Plot.text(tokens, {
        x: (_, i) => i,
        y: 0,
        text: short,
        fontSize: 20,
        fontFamily: "var(--mono)",
        fill: "var(--ink)",
      }),
      Plot.text(arrows, {
        x: ({ from, to }) => (from + to) / 2,
        y: (_, i) => (i ? -0.95 : 0.95),
        text: ({ layer }) => `layer ${layer}`,
        fill: "var(--muted)",
      }),
      arrow(arrows.slice(0, 1), 0.25, -40),
      arrow(arrows.slice(1), -0.25, 40),
    ],
  });
  const said = arrows.map(
    ({ layer, from, to, weight }) =>
      `layer ${layer}, “${spoken(tokens[from])}” looks at “${spoken(tokens[to])}” with ${percent(weight)}`,
  );
  const words = `${said.join("; ")}.`;
  return element(
    "figure",
    { class: "jumps" },
    described(picture, words),
    element("figcaption", { class: "note" }, words),
  );
}
