/** A text as a row of letters, one of which asks, and what it reads as arcs above them: a strip for each head. */
/** @import { Tensor } from "./engines/server.js" */
/** @import { Values } from "./predictions.js" */
import { element, percent, spoken, visible } from "./dom.js";
import { ranking } from "./predictions.js";

const STEP = 40; // of the drawing, a letter
const NAMED = 0.15; // of the attention: what is said in words
const SVG = "http://www.w3.org/2000/svg";

/** Letters to click; `chosen` is called with the number that has been read by then. */
export class Letters {
  constructor(chosen) {
    this.chosen = chosen;
    this.tokens = [];
    this.root = element("div", { class: "letters" });
  }

  /** Show that the first `read` of these tokens have been read. */
  show(tokens, read) {
    if (tokens !== this.tokens) {
      this.tokens = tokens;
      this.root.style.setProperty("--letters", tokens.length);
      this.root.replaceChildren(...tokens.map((token, i) => this.#letter(token, i + 1)));
    }
    for (const [i, letter] of [...this.root.children].entries()) {
      letter.classList.toggle("later", i >= read);
      letter.ariaPressed = String(i === read - 1);
    }
  }

  #letter(token, read) {
    const attributes = { type: "button", "aria-label": spoken(token), onclick: () => this.chosen(read) };
    return element("button", attributes, visible(token));
  }
}

/**
 * What the last of the `read` tokens reads of each other one.
 * @param {Tensor} layer Of weights, [H, T, T].
 */
export function arcs(layer, tokens, read) {
  const [heads, T] = layer.shape;
  const rows = Array.from({ length: heads }, (_, h) => layer.data.subarray((h * T + T - 1) * T, (h + 1) * T * T));
  const strips = rows.map((row, h) =>
    strip(row, tokens.length, heads > 1 ? `head ${h + 1}` : "", heads > 1 ? 46 : 120),
  );
  const said = rows.map((row, h) => `${heads > 1 ? `head ${h + 1} ` : ""}${looks(row, tokens)}`);
  return { strips, said: `“${spoken(tokens[read - 1])}” reads: ${said.join("; ")}.` };
}

/** @param {Values} row */
function looks(row, tokens) {
  const most = ranking(row).filter((s, i) => i === 0 || row[s] > NAMED);
  return most.map((s) => `“${spoken(tokens[s])}” ${percent(row[s])}`).join(", ");
}

/** Arcs from the last token of a row of weights, as wide as the weight. */
function strip(/** @type {Values} */ row, T, name, height) {
  const at = (place) => STEP * (place + 0.5);
  const from = row.length - 1;
  const drawn = Array.from(row, (weight, to) => {
    const style = { "stroke-width": (1 + 9 * weight).toFixed(1), opacity: (0.15 + 0.85 * weight).toFixed(2) };
    const top = height * (1 - 1.8 * ((from - to) / T)) - 10;
    if (to === from) return svg("circle", { cx: at(to), cy: height - 16, r: 9, ...style });
    const d = `M${at(from)} ${height} Q${(at(from) + at(to)) / 2} ${top.toFixed(0)} ${at(to)} ${height}`;
    return svg("path", { d, ...style });
  });
  const label = svg("text", { x: 0, y: 12 });
  label.textContent = name;
  const size = { viewBox: `0 0 ${STEP * T} ${height}`, class: "arcs", "aria-hidden": "true" };
  return svg("svg", { ...size, "data-part": "attention:softmax" }, label, ...drawn);
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
