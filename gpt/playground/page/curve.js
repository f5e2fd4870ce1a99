/** A run's losses as a chart. */
/** @import { Estimate, Run } from "./engines/server.js" */
import { described, element, note } from "./dom.js";
import { d3 } from "./libraries.js";

/** @typedef {Pick<Run, "iterations" | "curve" | "documented" | "changed" | "trained">} Drawn */

/**
 * The losses of a run over its iterations, with the documented one as a line if they can be compared; `at` is an
 * iteration to mark.
 */
export function curve(/** @type {Drawn} */ run, { colour, width, height = width < 260 ? 120 : 150, at = null }) {
  const { beside: all = [], batches = [] } = run.trained ?? {};
  const beside = all.filter((row) => row.iteration <= run.iterations);
  const last = run.curve.at(-1);
  if (!last && !batches.length) return nothing();
  const words = documentedInWords(run);
  const compared = words && run.changed.length === 0 ? [run.documented.val] : [];
  const values = [...run.curve, ...beside].flatMap((row) => [row.train, row.val]);
  values.push(...batches.map(({ loss }) => loss));
  const low = Math.min(...values, ...compared);
  const high = Math.max(...values);
  const domain = [low - 0.05 * (high - low), high];
  const picture = chart(run.iterations, { width, height, domain }, [
    line(batches, "loss", "stroke-opacity: 0.45"),
    line(beside, "val"),
    line(run.curve, "train", "stroke-dasharray: 2 2"),
    ...compared.map((val) => ({ points: [0, run.iterations].map((end) => [end, val]), style: DOCUMENTED })),
    ...marked(run.curve, "val", colour, at, domain),
  ]);
  described(
    picture,
    (last
      ? `Losses over ${last.iteration} iterations, at the end ${last.val.toFixed(4)} on the validation split`
      : "Losses of batches, before the first estimate") +
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

const nothing = () => note("The curve begins in a moment.");

/** The share of lines that a run answers right, in the same way. */
export function accuracy(/** @type {Drawn} */ run, { colour, width, height, at = null }) {
  const last = run.curve.at(-1);
  if (!last) return nothing();
  const domain = [0, 1];
  const lines = marked(run.curve, "accuracy", colour, at, domain);
  const picture = chart(run.iterations, { width, height, domain, format: "%" }, lines);
  described(picture, `After ${last.iteration} iterations, ${(100 * last.accuracy).toFixed(1)}% are answered right`);
  return element("figure", {}, picture);
}

/** @typedef {{points: number[][], style: string}} Line Iterations with a value, and how they are drawn, in CSS. */

/** @returns {Line} */
export function line(rows, y, style = "") {
  return { points: rows.map((row) => [row.iteration, row[y]]), style: `stroke: var(--muted); ${style}` };
}

const DOCUMENTED = "stroke: var(--ink); stroke-dasharray: 6 3";
const [LEFT, RIGHT, TOP, BOTTOM] = [34, 12, 12, 24]; // margins

/**
 * Lines over the iterations of a training, drawn several times a second while it runs, with less work than Plot's.
 * @param {Line[]} lines Beyond the `domain`, they run along its border.
 */
export function chart(iterations, { width, height, domain, format = undefined }, lines) {
  const x = d3.scaleLinear([0, iterations], [LEFT, width - RIGHT]);
  const y = d3.scaleLinear(domain, [height - BOTTOM, TOP]).clamp(true);
  const picture = d3.create("svg").attr("viewBox", [0, 0, width, height]).attr("width", width).attr("height", height);
  picture.style("overflow", "visible"); // of the last label
  const axis = (made, place, opacity) => {
    const ticks = picture.append("g").attr("transform", `translate(${place})`).call(made);
    ticks.style("font", "11px var(--sans)").select(".domain").remove();
    ticks.selectAll("line").attr("stroke-opacity", opacity);
  };
  const across = LEFT + RIGHT - width;
  axis(d3.axisBottom(x).ticks(width < 260 ? 2 : 4, ",d"), [0, height - BOTTOM], 1);
  axis(d3.axisLeft(y).ticks(4, format).tickSizeInner(across), [LEFT, 0], 0.1);
  for (const { points, style } of lines) {
    const places = points.map(([iteration, value]) => [x(iteration), y(value)]);
    picture.append("path").attr("d", d3.line()(places)).attr("style", `fill: none; ${style}`);
  }
  return picture.node();
}

/** The line of a measure, with a mark at its last point or at an iteration. */
function marked(curve, y, colour, at, domain) {
  const stroke = `stroke: ${colour}`;
  const mark =
    at === null
      ? line(curve.slice(-1), y, `${stroke}; stroke-width: 7; stroke-linecap: round`)
      : { points: domain.map((end) => [at, end]), style: stroke };
  return [line(curve, y, `${stroke}; stroke-width: 2`), mark];
}

const OTHER = /^(data|init|model|overfit)/; // text or model, of which the figure says nothing

/** The documented loss of a run's stage; empty if there is none. */
export function documentedInWords(/** @type {Pick<Run, "documented" | "changed">} */ { documented, changed }) {
  if (!documented?.val || changed.some((change) => OTHER.test(change))) return "";
  return `documented${changed.length ? " with other settings" : ""}: ${documented.val.toFixed(4)}`;
}
