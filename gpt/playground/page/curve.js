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
    y: { domain: [low - 0.18 * (high - low), high] },
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
      Plot.text(compared, {
        x: 0,
        y: (y) => y,
        text: (y) => `documented ${y.toFixed(4)}`,
        textAnchor: "start",
        dx: 4,
        dy: 10,
        fill: "var(--ink)",
        stroke: "var(--surface)",
        strokeWidth: 4,
      }),
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
      ...(compared.length ? [] : [words && `; ${words}`]),
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

/** The line of a measure, its last point or the one at an iteration, and a mark there. */
function marked(curve, y, colour, at) {
  return [
    Plot.line(curve, { x: "iteration", y, clip: true, stroke: colour, strokeWidth: 2 }),
    at === null ? null : Plot.ruleX([at], { stroke: colour, strokeWidth: 1 }),
    Plot.dot([at === null ? curve.at(-1) : between(curve, y, at)], { x: "iteration", y, fill: colour, r: 3.5 }),
  ];
}

const SETTINGS = {
  "training.max_iters": (n) => `after ${count(n)} iterations`,
  "training.batch_size": (n) => `with batches of ${n}`,
  "training.learning_rate": (rate) => `at a learning rate of ${rate}`,
};

const OTHER = /^(data|init|model|overfit)/; // text or model, of which the figure says nothing

/**
 * The documented loss of a run's stage, with the settings in which that run was another; empty if there is none.
 * @param {Pick<Run, "documented" | "changed">} run
 */
export function documentedInWords({ documented, changed }) {
  if (!documented?.val || changed.some((change) => OTHER.test(change))) return "";
  const differing = Object.keys(SETTINGS).filter((key) => changed.some((change) => change.startsWith(`${key}=`)));
  const said = differing.map((key) => ` ${SETTINGS[key](documented.settings[key])}`);
  const how = said.join(",") || (changed.length ? " with other settings" : "");
  return `documented${how}: ${documented.val.toFixed(4)}`;
}

/**
 * The point of the drawn line at an iteration.
 * @param {Estimate[]} curve
 */
function between(curve, y, iteration) {
  const found = curve.findIndex((row) => row.iteration >= iteration);
  const after = found < 0 ? curve.length - 1 : found; // a training goes on after its last estimate
  const [a, b] = [curve[found < 0 ? after : Math.max(after - 1, 0)], curve[after]];
  const share = a === b ? 0 : (iteration - a.iteration) / (b.iteration - a.iteration);
  return { iteration, [y]: a[y] + share * (b[y] - a[y]) };
}
