/** Trainings with play.py's server: train.py's own, as ordinary runs, whoever has started them. */
/** @import { Engine, Run, Served } from "../engines/server.js" */
import { curve } from "../curve.js";
import { count, element } from "../dom.js";
import { field, SettingsForm } from "./settings.js";

const SAID = {
  queued: "waits for its turn",
  training: "training",
  paused: "paused",
  killed: "was killed",
  diverged: "diverged",
  pruned: "pruned",
  failed: "failed",
  finished: "finished",
};

export class ServedTrainings {
  /**
   * `finished` is called with a run that has just finished.
   * @param {Element} root
   * @param {Engine} engine
   */
  constructor(root, engine, { finished }) {
    Object.assign(this, { root, engine, finished });
    /** @type {Map<string, Served>} */
    this.known = new Map();
    this.settings = new SettingsForm();
    this.settings.makeOptional();
    this.stage = element("select", { autocomplete: "off" });
    this.more = element("input", {
      type: "text",
      autocomplete: "off",
      spellcheck: false,
      placeholder: "model.n_layer=6",
    });
    this.failure = element("p", { class: "failure", role: "alert" });
    this.list = element("ul", { class: "trainings", "aria-label": "Trainings" });
    const form = element(
      "form",
      { class: "training", autocomplete: "off" },
      field("Stage", this.stage),
      ...this.settings.parts,
      field("More settings, as on the command line", this.more),
      this.failure,
      element("div", { class: "buttons" }, element("button", { class: "primary" }, "Train")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#guarded(() => this.#begin());
    });
    const note = element("p", { class: "note" }, "With train.py, on this computer: an ordinary run among your others.");
    root.replaceChildren(element("h2", {}, "Train a stage yourself"), note, form, this.list);
    root.removeAttribute("hidden");
    engine.follow((rows) => this.#show(rows));
  }

  /**
   * Offer these stages, and first the one of a run.
   * @param {Run} run
   * @param {string[]} stages
   */
  offer(run, stages) {
    if (run.translates || run.id === this.run?.id) return;
    this.run = run;
    this.stage.replaceChildren(...stages.map((name) => element("option", { selected: name === run.stage }, name)));
  }

  async #begin() {
    const text = await this.settings.text();
    await this.engine.begin(this.stage.value, text, this.settings.chosen(), this.more.value);
  }

  /** @param {Served[]} rows */
  #show(rows) {
    for (const row of rows) {
      const before = this.known.get(row.id);
      if (row.state === "finished" && before && before.state !== "finished") this.finished(row);
    }
    this.known = new Map(rows.map((row) => [row.id, row]));
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.change;
    this.list.replaceChildren(...rows.map((row) => this.#item(row)));
    if (focused) this.list.querySelector(`[data-change="${focused}"]`)?.focus();
  }

  /** @param {Served} row */
  #item(row) {
    const { id, folder, stage, state, iteration, iterations, sample, failure } = row;
    const isOn = state === "training" || state === "queued";
    const far = iterations === null ? "" : `, iteration ${count(iteration)} of ${count(iterations)}`;
    const change = (name, to) =>
      element(
        "button",
        {
          type: "button",
          class: "quiet",
          "data-change": `${to} ${id}`,
          "aria-label": `${name} ${folder}`,
          onclick: () => this.#guarded(() => this.engine.change(id, to)),
        },
        name,
      );
    const buttons = [];
    if (row.is_own && isOn) buttons.push(change("Pause", "pause"));
    if (state === "paused" || state === "killed") buttons.push(change("Resume", "resume"));
    const whose = row.is_own ? "" : " by another process";
    return element(
      "li",
      { "data-state": state },
      element("p", {}, element("b", {}, folder), ` ${SAID[state]}${whose}${far}`),
      iterations
        ? element("progress", { value: iteration, max: iterations, "aria-label": `Iterations of ${folder}` })
        : null,
      failure ? element("p", { class: "failure" }, failure) : null,
      isOn && row.curve.length ? curve(pictured(row), { colour: "var(--a)", width: 360 }) : null,
      isOn && sample ? element("pre", { class: "sample", "aria-label": `What ${stage} writes` }, sample) : null,
      element("div", { class: "changes" }, ...buttons),
    );
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

/** What curve.js draws. */
function pictured({ curve: rows, documented, changed, iterations }) {
  const trained = { of: "", iteration: 0, text: "", isDocumented: true, beside: [], batches: [], kept: false };
  return /** @type {Run} */ ({ curve: rows, documented, changed, iterations, trained });
}
