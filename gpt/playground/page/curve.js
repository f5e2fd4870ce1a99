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
  const place = { x: "iteration", y: "val" };
  const picture = Plot.plot({
    width,
    height,
    marginLeft: 34,
    marginRight: 12,
    marginBottom: 24,
    marginTop: 12,
    style: { background: "none", fontFamily: "inherit", fontSize: "11px", overflow: "visible" },
    x: {
      label: null,
      ticks: width < 260 ? 2 : 4,
      tickFormat: count,
      domain: [0, run.iterations],
    },
    y: { label: null, ticks: 4, domain: [low - 0.18 * (high - low), high], grid: true },
    marks: [
      Plot.line(batches, { x: "iteration", y: "loss", clip: true, stroke: "var(--muted)", strokeOpacity: 0.45 }),
      Plot.line(
        beside.filter((row) => row.iteration <= run.iterations),
        { ...place, clip: true, stroke: "var(--muted)", strokeWidth: 1 },
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
      Plot.line(run.curve, { ...place, clip: true, stroke: colour, strokeWidth: 2 }),
      at === null ? null : Plot.ruleX([at], { stroke: colour, strokeWidth: 1 }),
      Plot.dot([at === null ? last : between(run.curve, at)], { ...place, fill: colour, r: 3.5 }),
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
function between(curve, iteration) {
  const found = curve.findIndex((row) => row.iteration >= iteration);
  const after = found < 0 ? curve.length - 1 : found; // a training goes on after its last estimate
  const [a, b] = [curve[found < 0 ? after : Math.max(after - 1, 0)], curve[after]];
  const share = a === b ? 0 : (iteration - a.iteration) / (b.iteration - a.iteration);
  return { iteration, val: a.val + share * (b.val - a.val) };
}
