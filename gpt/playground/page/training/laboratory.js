/** The experiments of a page: a guess, the trainings side by side, and what came out. */
/** @import { Engine, Run } from "../engines/server.js" */
/** @import { Arm, Experiment, Result } from "./experiments.js" */
import { count, described, element, table } from "../dom.js";
import { Plot } from "../libraries.js";
import { EXPERIMENTS } from "./experiments.js";
import { TEXTS } from "./texts.js";

const TALLEST = 2; // nats above the lowest loss
const COLOURS = ["var(--a)", "var(--b)", "var(--look-colour)", "var(--failure)", "var(--muted)"];

export class Laboratory {
  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.list = element("div", { class: "experiments" });
    this.body = element("div", { class: "experiment" });
    this.root = element("details", {}, element("summary", {}, "Experiments: guess, then see"), this.list, this.body);
    this.turn = {};
  }

  /**
   * Offer the experiments of a run's page whose stages are here.
   * @param {Run} run
   * @param {Map<string, Run>} trainable The runs to train from, by their id.
   */
  offer(run, trainable) {
    this.#stop();
    this.run = run;
    const ofTexts = [...trainable.values()].filter((one) => !one.answers_only && !run.answers_only);
    this.stages = new Map(ofTexts.map((one) => [one.stage, one]));
    const isHere = ({ stage, variant }) => {
      const base = this.stages.get(stage || run.stage);
      return base && (!variant || base.variants?.includes(variant));
    };
    const offered = EXPERIMENTS.filter(({ pages, arms }) => pages.includes(run.stage) && arms.every(isHere));
    this.root.hidden = offered.length === 0;
    this.body.replaceChildren();
    this.list.replaceChildren(
      ...offered.map((experiment) =>
        element("button", { type: "button", class: "quiet", onclick: () => this.#ask(experiment) }, experiment.title),
      ),
    );
  }

  /** @param {Experiment} experiment */
  #ask(experiment) {
    this.#stop();
    const { question, guesses } = experiment;
    const answers = guesses.map(([label], i) =>
      element("button", { type: "button", class: "quiet", onclick: () => this.#run(experiment, i) }, label),
    );
    this.body.replaceChildren(
      element("p", {}, question, " What do you guess?"),
      element("div", { class: "guesses" }, ...answers),
    );
  }

  /** @param {Experiment} experiment */
  async #run(experiment, guess) {
    this.#stop();
    const turn = {};
    this.turn = turn;
    const { arms, iterations, guesses, why } = experiment;
    const picture = element("div");
    const said = element("p", { role: "status" });
    const stop = element("button", { type: "button", class: "quiet", onclick: () => this.#stop() }, "Stop");
    const guessed = element("p", { class: "note" }, `You guess: ${guesses[guess][0]}.`);
    this.body.replaceChildren(element("p", {}, experiment.question), guessed, picture, said, stop);
    /** @type {Result[]} */
    const results = arms.map(({ label }) => ({ label, val: Infinity, curve: [] }));
    const draw = () => picture.replaceChildren(chart(results, iterations));
    try {
      const text = await TEXTS[experiment.text].load();
      await Promise.all(arms.map((arm, i) => this.#trained(arm, text, experiment, results[i], turn, draw)));
    } catch (error) {
      if (this.turn !== turn) return;
      this.#stop();
      said.replaceChildren(element("span", { class: "failure" }, error.message));
      return;
    }
    if (this.turn !== turn) return;
    stop.remove();
    const right = guesses.findIndex(([, test]) => test(results));
    said.textContent = `${guess === right ? "You guessed right" : "Measured"}: ${guesses[right][0]}. ${why}`;
    this.body.append(summary(results));
  }

  /** Train one arm to its end; resolves to nothing when the experiment is stopped. */
  async #trained(/** @type {Arm} */ arm, text, { iterations }, result, turn, draw) {
    const base = this.stages.get(arm.stage || this.run.stage);
    const { learning_rate: rate, batch_size: batchSize } = base.training;
    const { learningRate = rate, seed = base.seed, variant = null } = arm;
    const chosen = { learningRate, batchSize, iterations, seed, variant };
    let finish;
    const ended = new Promise((resolve) => {
      finish = resolve;
    });
    const training = await this.engine.train(base, text, chosen, ({ estimate, ended: how }) => {
      if (this.turn !== turn) return training.pause().then(finish);
      if (estimate) {
        result.curve.push(estimate);
        draw();
      }
      if (how) finish();
      if (how === "finished") result.val = result.curve.at(-1).val;
    });
    training.go();
    await ended;
    training.forget();
  }

  #stop() {
    this.turn = {};
    for (const button of this.body.querySelectorAll("button")) button.remove();
  }
}

/** @param {Result[]} results */
function chart(results, iterations) {
  const rows = results.flatMap(({ label, curve }) => curve.map((row) => ({ ...row, label })));
  const low = Math.min(...rows.map((row) => row.val));
  const picture = Plot.plot({
    width: 420,
    height: 180,
    marginLeft: 34,
    marginRight: 12,
    marginBottom: 24,
    style: { background: "none", fontFamily: "inherit", fontSize: "11px", overflow: "visible" },
    color: { domain: results.map(({ label }) => label), range: COLOURS },
    x: { label: null, ticks: 4, tickFormat: count, domain: [0, iterations] },
    y: { label: null, ticks: 4, domain: [low - 0.05, low + TALLEST], grid: true },
    marks: [Plot.line(rows, { x: "iteration", y: "val", z: "label", stroke: "label", strokeWidth: 2, clip: true })],
  });
  const last = results.map(({ label, curve }) => `${label} ${curve.at(-1)?.val.toFixed(4) ?? "not yet"}`);
  described(picture, `Validation losses over ${iterations} iterations: ${last.join(", ")}`);
  const keys = results.map(({ label }, i) =>
    element("b", { class: "key solid", style: `--run: ${COLOURS[i]}` }, `${label} `),
  );
  const caption = element("figcaption", { class: "note" }, "Estimated validation loss: ", ...keys);
  return element("figure", {}, picture, caption);
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
