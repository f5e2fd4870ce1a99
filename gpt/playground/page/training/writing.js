/** What a training writes: a text, and under it the moments of which there is one. */
/** @import { Written } from "../engines/server.js" */
import { button, count, element, isStill } from "../dom.js";
import { extended } from "./written.js";

const SHOWN = 1200; // milliseconds for which a whole text stays while several are played

export class Writing {
  /** @param {() => void} moved Called when another text is shown: that of `iteration`. */
  constructor(moved) {
    this.moved = moved;
    this.does = "writes";
    this.said = element("figcaption", { class: "note" });
    this.text = element("pre", { class: "sample", tabindex: 0, "aria-label": "What it writes" });
    const keep = () => this.text.style.setProperty("min-height", `${this.text.offsetHeight}px`);
    new ResizeObserver(keep).observe(this.text); // a shorter text moves nothing below it
    this.strip = element("div", { class: "row", role: "group", "aria-label": "Moments of the training" });
    this.root = element("figure", { class: "writing" }, this.said, this.text, this.strip);
    /** @type {Written[]} */
    this.texts = [];
    this.chosen = -1; // by the reader; -1: the newest one
    this.playing = {};
  }

  /**
   * Forget the texts of another training for those that this one has written already. The last of them can be read until
   * this training has another.
   */
  begin(/** @type {Written[]} */ texts) {
    this.stop();
    this.chosen = -1;
    this.iteration = null;
    this.texts = texts;
    this.text.style.minHeight = "";
    this.strip.replaceChildren();
  }

  /**
   * Play the texts of a training, one after another, until the reader chooses one or another is shown. Nothing moves for
   * a reader who wants it so: the last text is there at once.
   */
  async play(/** @type {Written[]} */ texts) {
    this.begin(texts);
    const { playing } = this;
    for (let i = isStill() ? texts.length - 1 : 0; i >= 0 && i < texts.length && this.playing === playing; i++) {
      this.#write(i);
      await new Promise((resolve) => setTimeout(resolve, SHOWN));
    }
  }

  /** Show what a training has just written, unless the reader looks at an earlier text of it. */
  show(/** @type {Written} */ written) {
    this.stop();
    this.texts = extended(this.texts, written);
    if (this.chosen >= this.texts.length - 1) this.chosen = -1;
    if (this.chosen < 0) this.#write(this.texts.length - 1);
    else this.#write(this.chosen);
  }

  /** Play no more texts. */
  stop() {
    this.playing = {};
  }

  #choose(i) {
    this.stop();
    this.chosen = i < this.texts.length - 1 ? i : -1;
    this.#write(i);
  }

  #write(shown) {
    const { iteration, text } = this.texts[shown];
    this.iteration = iteration;
    this.moved();
    this.text.textContent = text;
    this.said.textContent = `What it ${this.does} after ${count(iteration)} iterations:`;
    while (this.strip.children.length > this.texts.length) this.strip.lastChild.remove();
    for (const [i, { iteration }] of this.texts.entries()) {
      const moment = this.strip.children[i] ?? this.strip.appendChild(button("", "quiet", () => this.#choose(i)));
      moment.textContent = count(iteration);
      moment.ariaPressed = String(i === shown);
    }
  }
}
