/** What a training writes, in large letters, beside its losses. */
/** @import { Drawn } from "../curve.js" */
/** @import { Written } from "../engines/server.js" */
import { accuracy, curve } from "../curve.js";
import { element, note } from "../dom.js";
import { Writing } from "./writing.js";

export const FIRST = "A network learns to write"; // above it, where the page is nothing else

/** @typedef {Drawn & {id: string, texts?: Written[], answers_only?: boolean}} Followed */

const IS_WIDE = matchMedia("(min-width: 40rem)"); // as in training.css

export class Screen {
  constructor() {
    /** @type {Followed | null} */
    this.run = null;
    this.writing = new Writing(() => this.#draw());
    this.picture = element("div", { class: "curve" });
    this.width = 320;
    const measure = (/** @type {ResizeObserverEntry[]} */ [{ contentRect }]) => {
      this.width = contentRect.width || this.width;
    };
    new ResizeObserver(measure).observe(this.picture);
    this.said = element("p", { class: "progress" });
    this.caption = note();
    const losses = element("div", {}, this.caption, this.picture);
    this.root = element("div", { class: "screen stack", hidden: true }, this.writing.root, losses, this.said);
  }

  /** Play back the training that docs/learning.py has stored, unless another one has begun. */
  async playStored() {
    const { stage, ...run } = await (await fetch("texts/v8.json")).json();
    if (this.run) return;
    this.play(run);
    this.said.textContent = `${stage}, learning Shakespeare, played back`;
  }

  /** Play back the texts of a training. */
  play(/** @type {Followed} */ run) {
    this.#show(run);
    this.said.textContent = "";
    this.writing.play(run.texts ?? []);
  }

  /** Leave what is shown as it is until a training is followed. */
  stop() {
    this.writing.stop();
    this.root.hidden = false;
    this.writing.root.hidden = !this.writing.texts.length;
    this.said.textContent = "getting ready …";
  }

  /** Show nothing until another training is played back or followed. */
  clear() {
    this.writing.stop();
    this.run = null;
    this.root.hidden = true;
  }

  /** Show how far a training is, and what it has written last. */
  follow(/** @type {Followed} */ run) {
    if (run.id !== this.run?.id) this.writing.begin(run.texts.slice(0, -1));
    this.#show(run);
    const [newest, shown] = [run.texts, this.writing.texts].map((texts) => texts.at(-1));
    if (newest && (newest.iteration !== shown?.iteration || newest.text !== shown.text)) this.writing.show(newest);
    else this.#draw();
  }

  #show(run) {
    this.run = run;
    this.root.hidden = false;
    this.writing.root.hidden = !run.texts?.length;
    this.writing.does = run.answers_only ? "answers" : "writes";
    this.caption.textContent = run.answers_only ? "New lines answered right" : "Loss on new text: lower is better";
  }

  /** Draw the losses, with a mark unless the text is the newest. */
  #draw() {
    const { iteration, texts } = this.writing;
    const at = iteration === texts.at(-1)?.iteration ? null : iteration;
    const height = IS_WIDE.matches ? 210 : 110;
    const draw = this.run.answers_only ? accuracy : curve;
    this.picture.replaceChildren(draw(this.run, { colour: "var(--accent)", width: this.width, height, at }));
  }
}
