/**
 * The inside of a run, folded until the reader opens it: the way to one prediction, step by step; what each layer would
 * predict; and the run with parts turned off.
 */
/** @import { Engine, Model, Run, Tensor } from "./engines/server.js" */
/** @import { Score } from "./predictions.js" */
import { Ablation } from "./ablation.js";
import { card, element, working } from "./dom.js";
import { Flow } from "./flow.js";
import { lens } from "./lens.js";

/**
 * The prediction at a position of a text that was read from `start` on.
 * @typedef {{model: Model, ids: number[], start: number, position: number, logits: Tensor, scores: Score[]}} Shown
 */

export class Inside {
  /** `selected` is called with the position of a token that the reader chooses. */
  constructor(/** @type {Engine} */ engine, /** @type {Run} */ run, names, selected) {
    this.engine = engine;
    this.run = run;
    this.names = names;
    /** @type {Shown | null} */
    this.what = null;
    /** @type {Shown | null} */
    this.loaded = null; // what the values are of
    this.flow = new Flow(run, names);
    this.lens = element("div");
    this.ablation = new Ablation(engine, run, names, selected);
    this.fronted = null; // some of its switches, in front of all else
    this.front = (only) => {
      this.fronted = new Ablation(engine, run, names, selected, only);
      return this.fronted;
    };
    const failure = element("p", { class: "failure", role: "alert" });
    const folded = [];
    if (run.opens) {
      folded.push(this.#folded("steps", "From the text to the prediction, step by step", this.flow.root));
      folded.push(this.#folded("lens", "What each layer would predict", this.lens));
    }
    if (run.parts.length) folded.push(this.#folded("off", "Turn parts off", this.ablation.root));
    const attributes = { class: "card inside", hidden: !folded.length };
    this.root = card(run, attributes, element("h3", {}, "Inside"), ...folded, failure);
    this.work = working(this.root, failure);
  }

  /** @param {Shown | null} what */
  async show(what) {
    this.what = what;
    await this.#load();
  }

  /**
   * Open one of the folded parts or, by the name of a part of the run, the step that explains it, as far as the reader
   * has `gone` in it; and turn the parts off whose names have `off` in them.
   */
  open(name, gone, off) {
    const folded = this.root.querySelector(`details.${CSS.escape(name)}`);
    if (!folded) this.flow.open(name, gone);
    if (off !== undefined) (this.fronted ?? this.ablation).turnOff(off);
    if (name === "off" && this.fronted) return this.#load();
    (folded ?? this.root.querySelector("details.steps"))?.setAttribute("open", "");
    return this.#load();
  }

  /** Redraw after a change of colours. */
  redraw() {
    this.flow.redraw();
  }

  #folded(name, title, content) {
    return element("details", { class: name, ontoggle: () => this.#load() }, element("summary", {}, title), content);
  }

  #isOpen = (name) => this.root.querySelector(`details.${name}[open]`) !== null;

  #load() {
    return this.work((signal) => this.#shown(signal));
  }

  /** Show what is open. */
  async #shown(signal) {
    const { what } = this;
    await this.fronted?.show(what, signal);
    if (this.#isOpen("off")) await this.ablation.show(what, signal);
    if (this.loaded === what || !(this.#isOpen("steps") || this.#isOpen("lens"))) return;
    if (what === null) {
      this.flow.clear();
      this.lens.replaceChildren();
    } else {
      const { model, ids, start, position } = what;
      const row = position - 1 - start;
      const window = ids.slice(start, start + this.run.block_size);
      const values = await this.engine.inside(model, window, row, signal);
      if (signal.aborted) return;
      const next = position < ids.length ? ids[position] : null;
      this.flow.show(values, window, row);
      this.lens.replaceChildren(lens(this.run, values, this.names, next));
    }
    this.loaded = what;
  }
}
