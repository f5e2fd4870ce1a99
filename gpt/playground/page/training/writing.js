/** What a training writes: a text that appears letter by letter, and under it the moments of which there is one. */
/** @import { Written } from "../engines/server.js" */
import { count, element } from "../dom.js";
import { extended, LETTERS, learned, PASSAGES } from "./written.js";

const SPEED = 0.25; // letters a millisecond
const SHOWN = 1200; // milliseconds for which a whole text stays while several are played

export class Writing {
  /** @param {() => void} moved Called when another text is shown: that of `iteration`. */
  constructor(moved) {
    this.moved = moved;
    this.does = "writes";
    this.said = element("figcaption", { class: "note" });
    this.text = element("pre", { class: "sample", tabindex: 0, "aria-label": "What it writes" });
    this.strip = element("div", { role: "group", "aria-label": "Moments of the training" });
    this.learned = element("p", { class: "note" });
    this.root = element("figure", { class: "writing" }, this.said, this.text, this.strip, this.learned);
    /** @type {Written[]} */
    this.texts = [];
    this.chosen = -1; // by the reader; -1: the newest one
    this.playing = {};
  }

  /**
   * Forget the texts of another training for those that this one has written already.
   * @param {Written[]} texts
   */
  begin(texts) {
    this.stop();
    this.chosen = -1;
    this.iteration = null;
    this.texts = texts;
    this.said.textContent = this.text.textContent = this.learned.textContent = "";
    this.strip.replaceChildren();
  }

  /**
   * Play the texts of a training, one after another, until the reader chooses one or another is shown. Nothing moves for
   * a reader who wants it so: the last text is there at once.
   * @param {Written[]} texts
   */
  async play(texts) {
    this.begin(texts);
    const { playing } = this;
    for (let i = isStill() ? texts.length - 1 : 0; i >= 0 && i < texts.length && this.playing === playing; i++) {
      await this.#write(i);
      await new Promise((resolve) => setTimeout(resolve, SHOWN));
    }
  }

  /**
   * Show what a training has just written, unless the reader looks at an earlier text of it.
   * @param {Written} written
   */
  show(written) {
    this.stop();
    this.texts = extended(this.texts, written);
    if (this.chosen >= this.texts.length - 1) this.chosen = -1;
    if (this.chosen < 0) this.#write(this.texts.length - 1);
    else this.#mark(this.chosen);
  }

  /** Play no more texts. */
  stop() {
    this.playing = {};
  }

  #choose(i) {
    this.stop();
    this.chosen = i < this.texts.length - 1 ? i : -1;
    this.text.ariaLive = "polite"; // what the reader asks for is read out, and what comes by itself is not
    this.#write(i, true);
  }

  /** Write a text over the one before, letter by letter; resolves when it is whole, or another is written. */
  #write(i, isAtOnce = isStill()) {
    this.#mark(i);
    if (!isAtOnce) this.text.ariaLive = "off";
    const letters = Array.from(this.texts[i].text);
    const before = Array.from(this.text.textContent);
    const began = performance.now();
    cancelAnimationFrame(this.frame);
    this.written?.();
    return new Promise((resolve) => {
      this.written = resolve;
      const draw = (now) => {
        const n = isAtOnce ? letters.length : Math.max(0, Math.ceil(SPEED * (now - began)));
        const rest = n < letters.length ? before.slice(n).join("") : "";
        this.text.replaceChildren(letters.slice(0, n).join(""), element("span", { class: "before" }, rest));
        if (n < letters.length) this.frame = requestAnimationFrame(draw);
        else resolve();
      };
      draw(began);
    });
  }

  #mark(shown) {
    this.iteration = this.texts[shown].iteration;
    this.moved();
    this.said.textContent = `What it ${this.does} after ${count(this.iteration)} iterations:`;
    while (this.strip.children.length > this.texts.length) this.strip.lastChild.remove();
    for (const [i, { iteration }] of this.texts.entries()) {
      const onclick = () => this.#choose(i);
      const button =
        this.strip.children[i] ??
        this.strip.appendChild(element("button", { type: "button", class: "quiet", onclick }));
      button.textContent = count(iteration);
      button.ariaPressed = String(i === shown);
    }
    const seen = learned(this.texts).map(([trait, iteration]) => `${trait} at ${count(iteration)}`);
    this.learned.textContent = seen.length
      ? `First as in the training text, judged by ${PASSAGES * LETTERS} letters each: ${seen.join(", ")}.`
      : "";
  }
}

const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
