/** A run's prediction: the likeliest tokens as bars, before and after the options of sampling. */
/** @import { Sampling } from "./engines/server.js" */
/** @import { Values } from "./predictions.js" */
import { columns, described, element, short, spoken } from "./dom.js";
import { Plot } from "./libraries.js";
import { penalised, ranking, shaped, softmax } from "./predictions.js";

const SHOWN = 12;
const ROUNDED = 1e-6; // of probability, by shaping with settings that change nothing

/**
 * A chart of the logits `x` over `vocabulary`, whose tokens are `unit`s, after a text, `ids`. `actual` is the one that
 * came next, or null; `colour` a CSS colour.
 * @param {Values} x
 * @param {Sampling} sampling
 */
export function distribution(x, vocabulary, sampling, { ids, unit, actual = null, colour, width }) {
  const plain = softmax(x);
  const drawn = shaped(penalised(x, ids, sampling.repetition_penalty), sampling);
  const order = ranking(plain);
  const top = order.slice(0, SHOWN);
  if (actual !== null && !top.includes(actual)) top.splice(SHOWN - 1, 1, actual);
  const rows = top.map((token) => ({
    token,
    label: short(vocabulary[token]),
    plain: plain[token],
    drawn: drawn[token],
    actual: token === actual,
  }));
  const highest = Math.max(...rows.map((row) => Math.max(row.plain, row.drawn)));
  const widest = Math.max(...rows.map((row) => columns(row.label)));
  const percent = (p) => (p === 0 ? "" : p < 0.001 ? "<0.1%" : `${(100 * p).toFixed(1)}%`);
  const picture = Plot.plot({
    width,
    height: 21 * rows.length + 8,
    marginLeft: 14 + 9 * widest,
    marginRight: 52,
    marginTop: 4,
    marginBottom: 4,
    style: { background: "none", fontFamily: "inherit", fontSize: "12px" },
    x: { domain: [0, highest], axis: null },
    y: { domain: rows.map((row) => row.token), axis: null, padding: 0.18 },
    marks: [
      Plot.barX(rows, { x: "drawn", y: "token", fill: colour, rx: 2 }),
      Plot.barX(rows, {
        x: "plain",
        y: "token",
        fill: "none",
        stroke: "var(--muted)",
        strokeOpacity: 0.75,
        rx: 2,
        inset: 0.5,
      }),
      Plot.text(rows, {
        x: 0,
        y: "token",
        text: "label",
        dx: -8,
        textAnchor: "end",
        className: "characters",
        fill: "var(--ink)",
        fontSize: 14,
        fontFamily: "var(--mono)",
        fontWeight: (row) => (row.actual ? 800 : 400),
      }),
      Plot.text(rows, {
        x: (row) => Math.max(row.plain, row.drawn),
        y: "token",
        text: (row) => percent(row.drawn) || "cut",
        textAnchor: "start",
        dx: 6,
        fill: "var(--muted)",
      }),
    ],
  });
  const listed = rows.slice(0, 5).map((row, i) => `${spoken(vocabulary[top[i]])} ${percent(row.drawn) || "cut"}`);
  described(picture, `The likeliest: ${listed.join(", ")}`);
  const rest = drawn.reduce((sum, p, token) => (top.includes(token) ? sum : sum + p), 0);
  const kept = drawn.filter((p) => p > 0).length;
  const isShaped = drawn.some((p, token) => Math.abs(p - plain[token]) > ROUNDED);
  return element(
    "figure",
    { class: "distribution" },
    picture,
    element(
      "figcaption",
      { class: "note" },
      `${vocabulary.length - top.length} other ${unit}s: ${percent(rest) || "0%"} together. ` +
        `${kept} of ${vocabulary.length} can be drawn.${isShaped ? " Outlines: without these settings." : ""}`,
    ),
  );
}
