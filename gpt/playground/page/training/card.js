/** The card that trains a stage: what on and how, how far it is, and what it has become. */
/** @import { Engine, Run } from "../engines/server.js" */
/** @import { Chosen, Text } from "./order.js" */
/** @import { Progress } from "./work.js" */
import { count, element } from "../dom.js";
import { OwnText, TEXTS } from "./texts.js";

const SAMPLE = { tokens: 160, temperature: 1, topK: null, topP: null, seed: 1, beam: 1, lengthPenalty: 1 };

export class TrainingCard {
  /**
   * `begun` is called with the run of a training that has just been prepared, and is waited for; `advanced` is called
   * with the run and its Progress.
   * @param {Element} root
   * @param {Engine} engine
   */
  constructor(root, engine, { begun, advanced }) {
    Object.assign(this, { root, engine, begun, advanced });
    /** @type {Run | null} */
    this.base = null;
    this.training = null;
    this.isGoing = false;
    this.isHeld = false; // until the tab is in front again
    this.fields = {
      learningRate: number({ min: 1e-6, max: 10, step: "any" }),
      batchSize: number({ min: 1, max: 512, step: 1 }),
      iterations: number({ min: 1, max: 100_000, step: 1 }),
      seed: number({ min: 0, max: 2 ** 32, step: 1 }),
    };
    const options = Object.entries(TEXTS).map(([value, { label }]) => element("option", { value }, label));
    this.text = element("select", { autocomplete: "off" }, ...options, element("option", { value: "own" }, "your own"));
    const area = element("textarea", {
      rows: 4,
      spellcheck: false,
      "aria-label": "Your own text",
      placeholder: "Type or paste a text, or drop a file here",
    });
    const said = element("p", { class: "note", role: "status" });
    this.own = new OwnText(area, said);
    const clear = element("button", { type: "button", class: "quiet", onclick: () => this.own.clear() }, "Clear");
    this.ownField = element("div", { class: "own", hidden: true }, area, said, clear);
    this.text.addEventListener("change", () => {
      this.ownField.hidden = this.text.value !== "own";
    });
    this.buttons = {
      train: button("Train", "primary", () => this.#guarded(() => this.#train())),
      step: button("Step", "quiet", () => this.#guarded(() => this.#step())),
      again: button("Start over", "quiet", () => this.#guarded(() => this.#again())),
    };
    this.background = element("input", { type: "checkbox", checked: true, autocomplete: "off" });
    document.addEventListener("visibilitychange", () => this.#guarded(() => this.#turned()));
    this.title = element("h3");
    this.note = element("p", { class: "note" });
    this.bar = element("progress", { value: 0, max: 1, "aria-label": "Iterations" });
    this.said = element("p", { class: "progress" });
    this.verdict = element("p", { role: "status" });
    this.failure = element("p", { class: "failure", role: "alert" });
    this.sample = element("pre", { class: "sample" });
    this.sampled = element("figure", { hidden: true }, element("figcaption", { class: "note" }), this.sample);
    this.form = element(
      "form",
      { class: "training", autocomplete: "off", onsubmit: (event) => event.preventDefault() },
      element(
        "div",
        { class: "settings" },
        field("Text", this.text),
        field("Learning rate", this.fields.learningRate),
        field("Batch size", this.fields.batchSize),
        field("Iterations", this.fields.iterations),
        field("Seed", this.fields.seed),
      ),
      this.ownField,
      element("div", { class: "buttons" }, ...Object.values(this.buttons)),
      element("label", { class: "note" }, this.background, " go on while this tab is in the background"),
    );
    this.progress = element("div", { hidden: true }, this.bar, this.said, this.verdict, this.sampled);
    root.replaceChildren(this.title, this.note, this.form, this.failure, this.progress);
  }

  /**
   * Offer to train the stage of a run, unless that is what was offered already.
   * @param {Run} run
   */
  offer(run) {
    if (run.trained || run.id === this.base?.id) return;
    this.#drop();
    this.base = run;
    const { training } = run;
    this.root.toggleAttribute("hidden", !training);
    if (!training) return;
    const isOffered = typeof training !== "string";
    this.title.textContent = `Train ${run.stage} yourself`;
    this.note.textContent = isOffered
      ? "With the stage’s own code: its loss and gradients, recorded as a graph, here in your browser."
      : `Not in a browser: ${training}.`;
    this.form.hidden = !isOffered;
    if (typeof training === "string") return;
    const { learning_rate: rate, batch_size: batch, iterations } = training;
    const values = { learningRate: rate, batchSize: batch, iterations, seed: run.seed };
    for (const [name, value] of Object.entries(values)) this.fields[name].value = String(value);
  }

  async #train() {
    if (this.isGoing) return this.#pause();
    if (!this.training && !(await this.#begin())) return;
    this.#go();
  }

  async #step() {
    if (!this.training && !(await this.#begin())) return;
    this.isGoing = false;
    await this.training.step();
  }

  async #pause() {
    this.isGoing = false;
    await this.training.pause();
  }

  async #again() {
    await this.training?.pause();
    this.#drop();
    if (await this.#begin()) this.#go();
  }

  /** The tab goes to the background, or comes back. */
  async #turned() {
    if (this.background.checked) return;
    if (document.hidden && this.isGoing) {
      await this.#pause();
      this.isHeld = true;
    } else if (!document.hidden && this.isHeld) this.#go();
  }

  #go() {
    this.isGoing = true;
    this.isHeld = false;
    this.buttons.train.textContent = "Pause";
    this.training.go();
  }

  /** Prepare a training; false if a setting is missing or wrong, which the browser shows beside it. */
  async #begin() {
    if (!this.form.reportValidity()) return false;
    const text = await this.#chosenText();
    const value = (name) => Number(this.fields[name].value);
    /** @type {Chosen} */
    const chosen = {
      learningRate: value("learningRate"),
      batchSize: value("batchSize"),
      iterations: value("iterations"),
      seed: value("seed"),
    };
    const training = await this.engine.train(this.base, text, chosen, (progress) => {
      if (this.training === training) this.#advance(progress);
    });
    this.training = training;
    this.progress.hidden = false;
    this.verdict.textContent = "";
    this.sampled.hidden = true;
    await this.begun(training.run);
    return true;
  }

  /** @returns {Promise<Text>} */
  async #chosenText() {
    const { value } = this.text;
    if (value !== "own") return TEXTS[value].load();
    return { content: this.own.content, name: "your text", isDocumented: false };
  }

  #drop() {
    this.training = null;
    this.isGoing = false;
    this.progress.hidden = true;
    this.failure.textContent = "";
    this.buttons.train.textContent = "Train";
  }

  /** @param {Progress} progress */
  #advance({ iteration, perSecond, estimate, ended, failure }) {
    const { run } = this.training;
    this.bar.max = run.iterations;
    this.bar.value = iteration;
    const left = perSecond ? (run.iterations - iteration) / perSecond : null;
    const parts = [`iteration ${count(iteration)} of ${count(run.iterations)}`];
    if (perSecond) parts.push(`${count(Number(perSecond.toPrecision(3)))} a second`, `${duration(left)} left`);
    if (this.isHeld) parts.push("paused while this tab is in the background");
    this.said.textContent = parts.join(" · ");
    if (ended) {
      this.isGoing = false;
      this.buttons.train.textContent = iteration < run.iterations ? "Go on" : "Train";
      this.buttons.train.disabled = ended === "finished" || ended === "failed";
      this.failure.textContent = failure ?? "";
    } else this.buttons.train.disabled = false;
    if (estimate) this.verdict.replaceChildren(...verdict(run, iteration));
    this.advanced(run, { iteration, estimate, ended });
    if (estimate) this.#guarded(() => this.#showSample(run, iteration));
  }

  async #showSample(run, iteration) {
    let text = "";
    const first = run.vocabulary.includes("\n") ? "\n" : run.vocabulary[0];
    for await (const piece of this.engine.write({ run: run.id, moment: null }, first, SAMPLE)) text += piece;
    if (run !== this.training?.run) return;
    this.sampled.hidden = false;
    this.sampled.querySelector("figcaption").textContent = `What it writes after ${count(iteration)} iterations:`;
    this.sample.textContent = text;
  }

  async #guarded(work) {
    this.failure.textContent = "";
    try {
      await work();
    } catch (error) {
      this.failure.textContent = error.message;
    }
  }
}

/** The documented loss and the reader's. */
function verdict(run, iteration) {
  const { train, val } = run.estimated;
  const yours = [
    `yours: `,
    element("b", {}, val.toFixed(4)),
    ` on the validation split, ${train.toFixed(4)} in training`,
  ];
  if (run.documented.val === null || iteration < run.iterations) return yours;
  return [`documented: ${run.documented.val.toFixed(4)}, `, ...yours];
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

function number(attributes) {
  return element("input", { type: "number", required: true, ...attributes });
}

function field(name, input) {
  return element("label", { class: "field" }, element("span", {}, name), input);
}

function button(name, kind, onclick) {
  return element("button", { type: "button", class: kind, onclick }, name);
}
