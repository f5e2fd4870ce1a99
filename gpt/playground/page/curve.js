/** A run's losses as a chart. */
/** @import { Estimate, Run } from "./engines/server.js" */
import { count, described, element } from "./dom.js";
import { Plot } from "./libraries.js";

/** @typedef {Pick<Run, "iterations" | "curve" | "documented" | "changed" | "trained">} Drawn */

/**
 * The losses of a run over its iterations, with the documented one as a line if they can be compared; `at` is an
 * iteration to mark.
 * @param {Drawn} run
 */
export function curve(run, { colour, width, height = width < 260 ? 120 : 150, at = null }) {
  const last = run.curve.at(-1);
  if (!last) return element("p", { class: "note" }, "The curve begins with the first estimate.");
  const words = documentedInWords(run);
  const compared = words && run.changed.length === 0 ? [run.documented.val] : [];
  const { beside = [], batches = [] } = run.trained ?? {};
  const values = [...run.curve, ...beside].flatMap((row) => [row.train, row.val]);
  const low = Math.min(...values, ...compared);
  const high = Math.max(...values);
  const picture = plotted(run, {
    width,
    height,
    y: { domain: [low - 0.05 * (high - low), high] },
    marks: [
      Plot.line(batches, { x: "iteration", y: "loss", clip: true, stroke: "var(--muted)", strokeOpacity: 0.45 }),
      Plot.line(
        beside.filter((row) => row.iteration <= run.iterations),
        { x: "iteration", y: "val", clip: true, stroke: "var(--muted)", strokeWidth: 1 },
      ),
      Plot.line(run.curve, {
        x: "iteration",
        y: "train",
        clip: true,
        stroke: "var(--muted)",
        strokeWidth: 1,
        strokeDasharray: "2,2",
      }),
      Plot.ruleY(compared, { stroke: "var(--ink)", strokeWidth: 1, strokeDasharray: "6,3" }),
      ...marked(run.curve, "val", colour, at),
    ],
  });
  described(
    picture,
    `Losses over ${last.iteration} iterations, at the end ${last.val.toFixed(4)} on the validation split` +
      (at === null ? "" : `, with a mark at iteration ${at}`) +
      (words && `; ${words}`),
  );
  return element(
    "figure",
    {},
    picture,
    element(
      "figcaption",
      { class: "note" },
      "Estimated loss over iterations: ",
      element("b", { class: "key solid" }, "validation"),
      ", ",
      element("span", { class: "key dotted" }, "training"),
      ...(batches.length ? [", ", element("span", { class: "key faint" }, "mini-batches, smoothed")] : []),
      ...(beside.length ? [", ", element("span", { class: "key thin" }, "train.py’s validation")] : []),
      words && `; ${words}`,
      ".",
    ),
  );
}

/** The share of lines that a run answers right, in the same way. */
export function accuracy(/** @type {Drawn} */ run, { colour, width, height, at = null }) {
  const last = run.curve.at(-1);
  if (!last) return element("p", { class: "note" }, "The curve begins with the first estimate.");
  const y = { domain: [0, 1], tickFormat: "%" };
  const picture = plotted(run, { width, height, y, marks: marked(run.curve, "accuracy", colour, at) });
  described(picture, `After ${last.iteration} iterations, ${(100 * last.accuracy).toFixed(1)}% are answered right`);
  return element("figure", {}, picture);
}

/** A chart over the iterations of a run. */
function plotted(run, { width, height, y, marks }) {
  return Plot.plot({
    width,
    height,
    marginLeft: 34,
    marginRight: 12,
    marginBottom: 24,
    marginTop: 12,
    style: { background: "none", fontFamily: "inherit", fontSize: "11px", overflow: "visible" },
    x: { label: null, ticks: width < 260 ? 2 : 4, tickFormat: count, domain: [0, run.iterations] },
    y: { label: null, ticks: 4, grid: true, ...y },
    marks,
  });
}

/** The line of a measure, with a mark at its last point or at an iteration. */
function marked(curve, y, colour, at) {
  return [
    Plot.line(curve, { x: "iteration", y, clip: true, stroke: colour, strokeWidth: 2 }),
    at === null
      ? Plot.dot(curve.slice(-1), { x: "iteration", y, fill: colour, r: 3.5 })
      : Plot.ruleX([at], { stroke: colour, strokeWidth: 1 }),
  ];
}

const OTHER = /^(data|init|model|overfit)/; // text or model, of which the figure says nothing

/**
 * The documented loss of a run's stage; empty if there is none.
 * @param {Pick<Run, "documented" | "changed">} run
 */
export function documentedInWords({ documented, changed }) {
  if (!documented?.val || changed.some((change) => OTHER.test(change))) return "";
  return `documented${changed.length ? " with other settings" : ""}: ${documented.val.toFixed(4)}`;
}
