/** Trainings with play.py's server: train.py's own, as ordinary runs, whoever has started them. */
/** @import { Engine, Run, Served } from "../engines/server.js" */
import { button, count, element, guarded, isFirst, note } from "../dom.js";
import { FIRST, Screen } from "./screen.js";
import { field, SettingsForm } from "./settings.js";

const SAID = {
  queued: "waits for its turn",
  training: "training",
  paused: "paused",
  killed: "was killed",
  diverged: "diverged",
  failed: "failed",
  finished: "finished",
};

const FEW = 3; // of those that do not train

export class ServedTrainings {
  /** `finished` is called with a run that has just finished, `opened` with one that is to be shown. */
  constructor(/** @type {Element} */ root, /** @type {Engine} */ engine, { finished, opened }) {
    Object.assign(this, { root, engine, finished, opened });
    /** @type {Map<string, Served>} */
    this.known = new Map();
    this.followed = ""; // the training on the screen
    this.stage = element("select", { autocomplete: "off", "aria-label": "Stage" });
    this.more = element("input", { type: "text", autocomplete: "off", spellcheck: false });
    this.settings = new SettingsForm(
      field("More settings, such as model.n_layer=6 schedule=cosine", this.more),
      note("With train.py, on this computer: an ordinary run among your others."),
    );
    this.settings.makeOptional();
    this.screen = new Screen();
    this.failure = element("p", { class: "failure", role: "alert" });
    this.list = element("ul", { class: "trainings stack", "aria-label": "Trainings" });
    this.rest = element("ul", { class: "trainings stack", "aria-label": "Earlier trainings" });
    this.earlier = element("details", {}, element("summary"), this.rest);
    const train = element("div", { class: "buttons row" }, element("button", { class: "primary" }, "Train"));
    const form = this.settings.form([this.stage, train], this.failure, this.screen.root);
    form.addEventListener("submit", () => this.#guarded(() => this.#begin()));
    this.title = element("h2");
    root.replaceChildren(this.title, form, this.list, this.earlier);
    root.removeAttribute("hidden");
    engine.follow((rows) => this.#show(rows.filter(({ state }) => state !== "pruned")));
  }

  /** Offer these stages, and first the one of a run, or v5 if there is no run yet. */
  offer(/** @type {Run | null} */ run, /** @type {string[]} */ stages) {
    this.title.textContent = isFirst() ? FIRST : "Train a stage yourself";
    if (!run) this.#guarded(() => this.screen.playStored());
    if (run?.translates || (run && run.id === this.run?.id)) return;
    this.run = run;
    const first = run?.stage ?? "v5";
    this.stage.replaceChildren(...stages.map((name) => element("option", { selected: name === first }, name)));
  }

  async #begin() {
    const text = await this.settings.text();
    this.followed = await this.engine.begin(this.stage.value, text, this.settings.chosen(), this.more.value);
    this.screen.stop();
  }

  /** @param {Served[]} rows */
  #show(rows) {
    for (const row of rows) {
      const before = this.known.get(row.id);
      if (row.state === "finished" && before && before.state !== "finished") this.#guarded(() => this.finished(row));
    }
    this.known = new Map(rows.map((row) => [row.id, row]));
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.change;
    const first = new Set([...rows.filter(isOn), ...rows.filter((row) => !isOn(row)).slice(0, FEW)]);
    const rest = rows.filter((row) => !first.has(row));
    this.list.replaceChildren(...rows.filter((row) => first.has(row)).map((row) => this.#item(row)));
    this.rest.replaceChildren(...rest.map((row) => this.#item(row)));
    this.earlier.hidden = rest.length === 0;
    this.earlier.firstElementChild.textContent = `${count(rest.length)} earlier`;
    if (focused) this.root.querySelector(`[data-change="${focused}"]`)?.focus();
    const followed = rows.find(({ state }) => state === "training") ?? this.known.get(this.followed);
    if (!followed?.curve.length) return;
    this.screen.follow(followed);
    this.screen.said.textContent = `${followed.stage}, ${SAID[followed.state]}${far(followed)}`;
  }

  /** @param {Served} row */
  #item(row) {
    const { id, folder, stage, corpus, state, iteration, iterations, failure } = row;
    const change = (name, to, done = () => this.engine.change(id, to)) =>
      button(name, "quiet", () => this.#guarded(done), {
        "data-change": `${to} ${id}`,
        "aria-label": `${name} ${folder}`,
      });
    const buttons = [];
    if (row.is_own && isOn(row)) buttons.push(change("Pause", "pause"));
    if (state === "paused" || state === "killed") buttons.push(change("Resume", "resume"));
    if (state === "finished") buttons.push(change("Open", "open", () => this.opened(row)));
    const whose = state === "training" && !row.is_own ? " by another process" : "";
    const name = element("b", {}, corpus ? `${stage} on ${corpus}` : stage);
    return element(
      "li",
      { class: "stack", "data-state": state },
      element("p", {}, name, `, ${SAID[state]}${whose}${far(row)}`),
      note(folder),
      iterations && state !== "finished"
        ? element("progress", { value: iteration, max: iterations, "aria-label": `Iterations of ${folder}` })
        : null,
      failure ? element("p", { class: "failure" }, failure) : null,
      element("div", { class: "row" }, ...buttons),
    );
  }

  #guarded = (work) => guarded(this.failure, work);
}

const isOn = ({ state }) => state === "training" || state === "queued";

/** How far a training is. */
function far({ iteration, iterations }) {
  return iterations === null ? "" : `, iteration ${count(iteration)} of ${count(iterations)}`;
}
