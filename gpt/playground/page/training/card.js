/** The card that trains a stage: what on and how, how far it is, and what it has become. */
/** @import { Engine, Run } from "../engines/server.js" */
/** @import { Progress } from "./work.js" */
import { documentedInWords } from "../curve.js";
import { button, count, element, guarded, isFirst, note } from "../dom.js";
import { tellTrained } from "../embedded.js";
import { forget, keep } from "./keeping.js";
import { Laboratory } from "./laboratory.js";
import { FIRST, Screen } from "./screen.js";
import { duration, SettingsForm } from "./settings.js";

const CODE =
  "With the stage’s own code: its loss and its gradients, recorded as a graph, run here in your browser. Nothing leaves it.";

export class TrainingCard {
  /** `begun` is called with the run of a training that has just been prepared, `ended` whenever it pauses or ends. */
  constructor(/** @type {Element} */ root, /** @type {Engine} */ engine, { begun, ended }) {
    Object.assign(this, { root, engine, begun, ended });
    /** @type {Run | null} */
    this.base = null;
    this.training = null;
    this.isGoing = false;
    this.isBeginning = false;
    this.isOver = false; // it has finished, or failed
    this.note = note();
    this.settings = new SettingsForm(
      button("Step", "quiet", () => this.#guarded(() => this.#step())),
      this.note,
    );
    this.train = button("Train", "primary", () => this.#guarded(() => this.#train()));
    this.again = button("Start over", "quiet", () => this.#guarded(() => this.#again()));
    this.saved = 0; // the iteration of the weights that the reader has kept
    addEventListener("beforeunload", (event) => {
      if (this.training && this.training.run.trained.iteration !== this.saved) event.preventDefault();
    });
    this.title = element("h2");
    this.why = note();
    this.bar = element("progress", { value: 0, max: 1, "aria-label": "Progress" });
    this.verdict = element("p", { role: "status" });
    this.failure = element("p", { class: "failure", role: "alert" });
    this.screen = new Screen();
    this.keeping = button("Keep in this browser", "quiet keeping", () => this.#guarded(() => this.#keep()));
    this.kept = element("p", { class: "note", role: "status" });
    this.progress = element("div", { hidden: true }, this.bar, this.verdict, this.keeping, this.kept);
    const buttons = element("div", { class: "buttons row" }, this.train, this.again);
    this.form = this.settings.form([buttons], this.failure, this.screen.root, this.progress);
    // Once the form is on the screen, what it begins with is loaded.
    this.seen = new IntersectionObserver(([form]) => form.isIntersecting && engine.prepare(this.base));
    this.forgetting = button("Forget this training", "quiet forget", () => this.#guarded(() => this.#forget()));
    this.laboratory = new Laboratory(engine);
    root.replaceChildren(this.title, this.why, this.form, this.forgetting, this.laboratory.root);
  }

  /**
   * Offer to train the stage of a run, unless that is what was offered already.
   * @param {Run} run
   * @param {Map<string, Run>} trainable The runs whose stages can be trained, by id.
   */
  offer(run, trainable) {
    this.forgetting.hidden = !run.trained?.kept;
    this.shown = run;
    const base = run.trained ? trainable.get(run.trained.of) : run;
    if (base && base.id !== this.base?.id) this.#offer(base, trainable);
    if (run.trained?.kept) this.screen.play(run);
  }

  /** @param {Run} run */
  #offer(run, trainable) {
    this.#drop();
    this.screen.clear();
    this.base = run;
    const { training } = run;
    this.root.toggleAttribute("hidden", !training);
    this.seen.disconnect();
    if (!training) return;
    const isOffered = typeof training !== "string";
    this.title.textContent = isFirst() ? FIRST : `Train ${run.answers_only ? "it" : run.stage} yourself`;
    this.form.hidden = !isOffered;
    this.why.textContent = isOffered ? "" : `Not in a browser: ${training}.`;
    this.laboratory.root.hidden = !isOffered;
    if (typeof training === "string") return;
    const isOther = training.optimizer !== "AdamW";
    const other = isOther ? ` train.py trains it with ${training.optimizer}; here, it is AdamW.` : "";
    this.note.textContent = CODE + other;
    this.laboratory.offer(run, trainable);
    this.settings.offer(run, training);
    this.seen.observe(this.form);
    if (isFirst()) this.#guarded(() => this.screen.playStored());
  }

  async #train() {
    if (this.isGoing) {
      this.isGoing = false;
      return this.training.pause();
    }
    if (this.isOver) this.#drop();
    if (!this.training && !(await this.#begin())) return;
    this.isGoing = true;
    this.train.textContent = "Pause";
    this.training.go();
  }

  #again() {
    this.#drop();
    return this.#train();
  }

  async #step() {
    if (!this.training && !(await this.#begin())) return;
    this.isGoing = false;
    await this.training.step();
  }

  /** Prepare a training; false if a setting is missing or wrong, which the browser shows beside it. */
  async #begin() {
    if (this.isBeginning || !this.form.reportValidity()) return false;
    this.isBeginning = true;
    const { base } = this;
    let training;
    this.bar.removeAttribute("value"); // it moves until the first news
    this.progress.hidden = false;
    this.keeping.hidden = true;
    this.kept.textContent = this.verdict.textContent = "";
    this.screen.stop();
    try {
      const text = await this.settings.text(base);
      training = await this.engine.train(base, text, this.settings.chosen(), (progress) => {
        if (this.training === training) this.#advance(progress);
      });
    } finally {
      this.isBeginning = false;
      this.progress.hidden = !training || this.base !== base;
      if (!training) this.screen.said.textContent = "";
    }
    if (this.base !== base) {
      training.forget(); // another stage was chosen meanwhile
      return false;
    }
    this.training = training;
    this.again.hidden = false;
    this.begun(training.run);
    return true;
  }

  #drop() {
    this.training?.pause();
    this.training = null;
    this.saved = 0;
    this.isGoing = this.isOver = false;
    this.progress.hidden = this.again.hidden = true;
    this.failure.textContent = "";
    this.train.textContent = "Train";
  }

  /** @param {Progress} progress */
  #advance({ iteration, perSecond, estimate, measured, ended, failure }) {
    const { run } = this.training;
    this.bar.max = run.iterations;
    this.bar.value = iteration;
    const left = perSecond ? (run.iterations - iteration) / perSecond : null;
    const parts = [`iteration ${count(iteration)} of ${count(run.iterations)}`];
    if (measured) parts.push(`estimating the loss, ${Math.round(100 * measured)}%`);
    else if (perSecond && !ended)
      parts.push(`${count(Number(perSecond.toPrecision(3)))} a second`, `${duration(left)} left`);
    if (ended) {
      this.isGoing = false;
      this.again.hidden = this.isOver = ended !== "paused";
      this.train.textContent = this.isOver ? "Train again" : "Go on";
      this.failure.textContent = failure ?? "";
    }
    this.keeping.hidden = !ended || iteration === 0;
    if (estimate) this.verdict.replaceChildren(...verdict(run, estimate.iteration));
    if (ended) this.ended(run);
    if (ended === "finished" && run.documented) tellTrained(run);
    this.screen.follow(run);
    this.screen.said.textContent = parts.join(" · ");
  }

  async #keep() {
    const { run, weights } = this.training;
    const { iteration } = run.trained;
    await keep({ ...run, moments: [iteration], trained: { ...run.trained, kept: true } }, await weights(null));
    this.saved = iteration;
    this.kept.textContent = "Kept: it stays in the list of runs when this page is loaded again.";
  }

  async #forget() {
    await forget(this.shown.id);
    location.reload();
  }

  #guarded = (work) => guarded(this.failure, work);
}

/** The documented loss and the reader's. */
function verdict(run, iteration) {
  const { train, val, accuracy } = run.curve.at(-1);
  const yours = [
    `yours: `,
    element("b", {}, val.toFixed(4)),
    ` on the validation split, ${train.toFixed(4)} in training`,
    ...(accuracy === undefined ? [] : [`; ${(100 * accuracy).toFixed(1)}% of new lines answered right`]),
  ];
  const documented = documentedInWords(run);
  return documented && iteration === run.iterations ? [`${documented}, `, ...yours] : yours;
}
