/** Trainings side by side: their curves as they go, and the losses that they end with. */
/** @import { Engine, Estimate, Run } from "../engines/server.js" */
/** @import { Chosen } from "./order.js" */
/** @import { TEXTS as Texts } from "./texts.js" */
import { chart, line } from "../curve.js";
import { described, element, row, table } from "../dom.js";
import { TEXTS } from "./texts.js";

/**
 * A training; what is not given is as the page offers it. `variant` is one of gpt/playground/static.py.
 * @typedef {Partial<Chosen> & {label: string, stage: string, variant?: string}} Arm
 * @typedef {{label: string, val: number, iteration: number, curve: Estimate[], batches: object[]}} Result `val` is Infinity if the loss became NaN.
 * @typedef {{text?: keyof typeof Texts, iterations: number, arms: Arm[]}} Racing
 */

const [LOW, HIGH] = [2, 4.3]; // nats: lower losses have room, higher ones are cut off
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
    this.results = racing.arms.map(({ label }) => ({ label, val: Infinity, iteration: 0, curve: [], batches: [] }));
    this.picture = element("div");
    this.bar = element("progress", { max: racing.iterations, value: 0, "aria-label": "Iterations", hidden: true });
    this.root = element("div", { class: "race" }, this.picture, this.bar);
    this.#draw();
  }

  /** Train all arms; whether they ended, rather than being stopped. */
  async run() {
    const { arms, text = "shakespeare" } = this.racing;
    this.bar.hidden = false;
    const content = await TEXTS[text].load();
    try {
      await Promise.all(arms.map((arm, i) => this.#trained(arm, content, this.results[i])));
    } catch (error) {
      this.stop(); // the other arms
      throw error;
    }
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
    const { promise: ended, resolve: finish } = /** @type {PromiseWithResolvers<void>} */ (Promise.withResolvers());
    const training = await this.engine.train(base, text, chosen, ({ iteration, loss, estimate, ended: how }) => {
      if (this.isStopped) return training.pause().then(finish);
      result.iteration = iteration;
      this.bar.value = Math.min(...this.results.map((one) => one.iteration));
      if (loss !== null) result.batches.push({ iteration, loss });
      if (estimate) result.curve.push(estimate);
      this.#draw();
      if (how) finish();
      if (how === "finished") result.val = result.curve.at(-1).val;
    });
    training.go();
    await ended;
    training.forget();
  }

  #draw() {
    this.picture.replaceChildren(losses(this.results, this.racing.iterations));
  }
}

/** @param {Result[]} results */
function losses(results, iterations) {
  const low = Math.min(LOW, ...results.flatMap(({ curve }) => curve.map(({ val }) => val)));
  const lines = results.flatMap(({ curve, batches }, i) => [
    line(batches, "loss", `stroke: ${COLOURS[i]}; stroke-opacity: 0.35`),
    line(curve, "val", `stroke: ${COLOURS[i]}; stroke-width: 2`),
  ]);
  const picture = chart(iterations, { width: 420, height: 180, domain: [low - 0.05, HIGH] }, lines);
  const last = results.map(({ label, curve }) => `${label} ${curve.at(-1)?.val.toFixed(4) ?? "not yet"}`);
  described(picture, `Validation losses over ${iterations} iterations: ${last.join(", ")}`);
  const keys = results.map(({ label }, i) =>
    element("b", { class: "key solid", style: `--run: ${COLOURS[i]}` }, `${label} `),
  );
  const caption = element("figcaption", { class: "note" }, "Loss on new text and, faint, of mini-batches: ", ...keys);
  return element("figure", {}, picture, caption);
}

/** @param {Result[]} results */
function summary(results) {
  const rows = results.map(({ label, val }) => row(label, val === Infinity ? "NaN" : val.toFixed(4)));
  return table("summary", [null, "validation loss"], rows);
}
