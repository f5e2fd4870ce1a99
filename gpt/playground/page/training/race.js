/** Trainings side by side: their curves as they go, and the losses that they end with. */
/** @import { Engine, Estimate, Run } from "../engines/server.js" */
/** @import { Chosen } from "./order.js" */
/** @import { TEXTS as Texts } from "./texts.js" */
import { count, described, element, table } from "../dom.js";
import { Plot } from "../libraries.js";
import { TEXTS } from "./texts.js";

/**
 * A training; what is not given is as the page offers it. `variant` is one of gpt/playground/static.py.
 * @typedef {Partial<Chosen> & {label: string, stage: string, variant?: string}} Arm
 * @typedef {{label: string, val: number, curve: Estimate[]}} Result `val` is Infinity if the loss became NaN.
 * @typedef {{text: keyof typeof Texts, iterations: number, arms: Arm[]}} Racing
 */

const TALLEST = 2; // nats above the lowest loss
const COLOURS = ["var(--a)", "var(--b)", "var(--look-colour)", "var(--failure)", "var(--muted)"];

export class Race {
  /**
   * @param {Engine} engine
   * @param {Racing} racing
   * @param {(arm: Arm) => Run} base The run whose stage an arm trains.
   */
  constructor(engine, racing, base) {
    this.engine = engine;
    this.racing = racing;
    this.base = base;
    this.isStopped = false;
    /** @type {Result[]} */
    this.results = racing.arms.map(({ label }) => ({ label, val: Infinity, curve: [] }));
    this.root = element("div");
    this.#draw();
  }

  /** Train all arms; whether they ended, rather than being stopped. */
  async run() {
    const { arms, text } = this.racing;
    const content = await TEXTS[text].load();
    await Promise.all(arms.map((arm, i) => this.#trained(arm, content, this.results[i])));
    if (!this.isStopped) this.root.append(summary(this.results));
    return !this.isStopped;
  }

  stop() {
    this.isStopped = true;
  }

  /** Train one arm to its end. */
  async #trained(/** @type {Arm} */ arm, text, result) {
    const base = this.base(arm);
    const { learning_rate: rate, batch_size: batchSize } = base.training;
    const { learningRate = rate, seed = base.seed, variant = null } = arm;
    const chosen = { learningRate, batchSize, iterations: this.racing.iterations, seed, variant };
    let finish;
    const ended = new Promise((resolve) => {
      finish = resolve;
    });
    const training = await this.engine.train(base, text, chosen, ({ estimate, ended: how }) => {
      if (this.isStopped) return training.pause().then(finish);
      if (estimate) {
        result.curve.push(estimate);
        this.#draw();
      }
      if (how) finish();
      if (how === "finished") result.val = result.curve.at(-1).val;
    });
    training.go();
    await ended;
    training.forget();
  }

  #draw() {
    this.root.replaceChildren(chart(this.results, this.racing.iterations));
  }
}

/** @param {Result[]} results */
function chart(results, iterations) {
  const rows = results.flatMap(({ label, curve }) => curve.map((row) => ({ ...row, label })));
  const low = Math.min(...rows.map((row) => row.val), 4);
  const picture = Plot.plot({
    width: 420,
    height: 180,
    marginLeft: 34,
    marginRight: 12,
    marginBottom: 34,
    style: { background: "none", fontFamily: "inherit", fontSize: "11px", overflow: "visible" },
    color: { domain: results.map(({ label }) => label), range: COLOURS },
    x: {
      label: "iteration",
      labelAnchor: "center",
      labelArrow: "none",
      ticks: 4,
      tickFormat: count,
      domain: [0, iterations],
    },
    y: { label: "loss on new text", labelArrow: "none", ticks: 4, domain: [low - 0.05, low + TALLEST], grid: true },
    marks: [Plot.line(rows, { x: "iteration", y: "val", z: "label", stroke: "label", strokeWidth: 2, clip: true })],
  });
  const last = results.map(({ label, curve }) => `${label} ${curve.at(-1)?.val.toFixed(4) ?? "not yet"}`);
  described(picture, `Validation losses over ${iterations} iterations: ${last.join(", ")}`);
  const keys = results.map(({ label }, i) =>
    element("b", { class: "key solid", style: `--run: ${COLOURS[i]}` }, `${label} `),
  );
  return element("figure", {}, picture, element("figcaption", { class: "note" }, ...keys));
}

/** @param {Result[]} results */
function summary(results) {
  const rows = results.map(({ label, val }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, label),
      element("td", {}, val === Infinity ? "NaN" : val.toFixed(4)),
    ),
  );
  return table("summary", [null, "validation loss"], rows);
}
