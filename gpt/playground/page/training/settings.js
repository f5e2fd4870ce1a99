/** What a training is asked to be: its text, learning rate, batch size, iterations and seed. */
/** @import { Offered, Run } from "../engines/server.js" */
/** @import { Chosen, Text } from "./order.js" */
import { button, element } from "../dom.js";
import { OwnText, TEXTS } from "./texts.js";

export class SettingsForm {
  /** @param {Node[]} more What else is folded away. */
  constructor(...more) {
    const number = (min, max, step) => element("input", { type: "number", required: true, min, max, step });
    this.fields = {
      learningRate: number(1e-6, 10, "any"),
      batchSize: number(1, 512, 1),
      iterations: number(1, 100_000, 1),
      seed: number(0, 2 ** 32, 1),
    };
    const chip = (value, label) => {
      const input = element("input", { type: "radio", name: "text", value, autocomplete: "off" });
      input.addEventListener("change", () => this.#showOwn());
      return element("label", {}, input, element("span", {}, label));
    };
    const offered = Object.entries(TEXTS).filter(([, { label }]) => label);
    this.chips = element(
      "fieldset",
      { class: "chips row", "aria-label": "Learn from" },
      ...offered.map(([value, { label }]) => chip(value, label)),
      chip("own", "your own"),
    );
    const area = element("textarea", {
      rows: 4,
      spellcheck: false,
      "aria-label": "Your own text",
      placeholder: "Type or paste a text, or drop a file here",
    });
    const said = element("p", { class: "note", role: "status" });
    this.own = new OwnText(area, said);
    const clear = button("Clear", "quiet", () => this.own.clear());
    const file = element("input", { type: "file", accept: "text/*", "aria-label": "A file of text" });
    file.addEventListener("change", () => file.files.length && this.own.open(file.files[0]));
    this.ownField = element("div", { class: "own stack", hidden: true }, area, file, said, clear);
    const names = ["Learning rate", "Batch size", "Iterations", "Seed"];
    const inputs = Object.values(this.fields).map((input, i) => field(names[i], input));
    const fields = element("div", { class: "row" }, ...inputs);
    const folded = element(
      "details",
      {},
      element("summary", {}, "Settings"),
      element("div", { class: "stack" }, fields, ...more),
    );
    // A number that cannot be used is shown, though it is folded away: the browser says what is wrong with it.
    folded.addEventListener("invalid", () => folded.setAttribute("open", ""), { capture: true });
    this.foot = element("div", { class: "foot row" }, folded);
    this.#offerTexts(false);
  }

  /** The form of a card: what stands beside the choice of a text, and below it. */
  form(beside, ...below) {
    const lead = element("div", { class: "lead row" }, this.chips, ...beside);
    const form = element("form", { class: "stack", autocomplete: "off" }, lead, this.ownField, ...below, this.foot);
    form.addEventListener("submit", (event) => event.preventDefault());
    return form;
  }

  /** Of all texts, those that suit a run. */
  #offerTexts(answersOnly) {
    const all = /** @type {NodeListOf<HTMLInputElement>} */ (this.chips.querySelectorAll("input"));
    for (const input of all) input.parentElement.hidden = (TEXTS[input.value]?.answersOnly ?? false) !== answersOnly;
    const offered = [...all].filter(({ parentElement: chip }) => !chip.hidden);
    if (!offered.some(({ checked }) => checked)) offered[0].checked = true;
    this.#showOwn();
  }

  get #chosenText() {
    return /** @type {HTMLInputElement} */ (this.chips.querySelector(":checked")).value;
  }

  #showOwn() {
    this.ownField.hidden = this.#chosenText !== "own";
  }

  /** Fill in what a run was trained with. */
  offer(/** @type {Run} */ run, /** @type {Offered} */ offered) {
    this.#offerTexts(run.answers_only);
    const { learning_rate: learningRate, batch_size: batchSize, max_iters: iterations } = offered;
    const values = { learningRate, batchSize, iterations, seed: run.seed };
    for (const [name, value] of Object.entries(values)) this.fields[name].value = String(value);
  }

  /** Let what is left empty be as documented. */
  makeOptional() {
    for (const input of Object.values(this.fields)) {
      input.required = false;
      input.placeholder = "default";
    }
  }

  /** @returns {Chosen} What is filled in; null for what is not. */
  chosen() {
    const value = ([name, input]) => [name, input.value === "" ? null : Number(input.value)];
    return Object.fromEntries(Object.entries(this.fields).map(value));
  }

  /** @returns {Promise<Text>} */
  async text(/** @type {Run | undefined} */ run = undefined) {
    if (this.#chosenText !== "own") return TEXTS[this.#chosenText].load(run, this.chosen().seed);
    return { content: this.own.content, name: "your text", file: this.own.file, isDocumented: false };
  }
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

export function field(name, input) {
  return element("label", { class: "field stack" }, element("span", {}, name), input);
}
