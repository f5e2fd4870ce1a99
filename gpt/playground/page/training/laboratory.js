/** The experiments of a page: a guess, the trainings side by side, and what came out. */
/** @import { Engine, Run } from "../engines/server.js" */
/** @import { Experiment } from "./experiments.js" */
import { button, element, guarded, note } from "../dom.js";
import { EXPERIMENTS } from "./experiments.js";
import { Race } from "./race.js";

export class Laboratory {
  /** @param {Engine} engine */
  constructor(engine) {
    this.engine = engine;
    this.list = element("div", { class: "experiments row" });
    this.body = element("div", { class: "experiment stack" });
    this.root = element("details", {}, element("summary", {}, "Experiments: guess, then see"), this.list, this.body);
    this.race = null;
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
    const isHere = (arm) => this.#base(arm) && (!arm.variant || this.#base(arm).variants?.includes(arm.variant));
    const offered = EXPERIMENTS.filter(({ pages, arms }) => pages.includes(run.stage) && arms.every(isHere));
    this.root.hidden = offered.length === 0;
    this.body.replaceChildren();
    const buttons = offered.map((experiment) => button(experiment.title, "quiet", () => this.#ask(experiment)));
    this.list.replaceChildren(...buttons);
  }

  /** @param {Experiment} experiment */
  #ask(experiment) {
    this.#stop();
    const { question, guesses } = experiment;
    const answers = guesses.map(([label], i) => button(label, "quiet", () => this.#run(experiment, i)));
    this.body.replaceChildren(
      element("p", {}, question, " What do you guess?"),
      element("div", { class: "row" }, ...answers),
    );
  }

  /** @param {Experiment} experiment */
  async #run(experiment, guess) {
    this.#stop();
    const { guesses, why } = experiment;
    const race = new Race(this.engine, experiment, this.#base);
    this.race = race;
    const said = element("p", { role: "status" });
    const failure = element("p", { class: "failure", role: "alert" });
    const stop = button("Stop", "quiet", () => this.#stop());
    const guessed = note(`You guess: ${guesses[guess][0]}.`);
    this.body.replaceChildren(element("p", {}, experiment.question), guessed, race.root, said, failure, stop);
    await guarded(failure, async () => {
      if (!(await race.run())) return;
      const right = guesses.findIndex(([, test]) => test(race.results));
      said.textContent = `${guess === right ? "You guessed right" : "Measured"}: ${guesses[right][0]}. ${why}`;
    });
    stop.remove();
  }

  #base = ({ stage }) => this.stages.get(stage || this.run.stage);

  #stop() {
    this.race?.stop();
    for (const one of this.body.querySelectorAll("button")) one.remove();
  }
}
