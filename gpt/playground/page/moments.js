/** A slider over the moments of a run's training that it kept, from its first iteration to the run as it is shown. */
/** @import { Estimate, Run } from "./engines/server.js" */
import { button, count, element, note } from "./dom.js";

const SHOWN = 500; // milliseconds that a moment is shown while they are played, or as long as it takes to compute

export class Moments {
  /**
   * `moved` is called with the moment that the reader chooses, an iteration, or null for the run as it is shown, and
   * returns when that is shown.
   */
  constructor(/** @type {Run} */ run, /** @type {(moment: number | null) => Promise<void>} */ moved) {
    this.run = run;
    this.moved = moved;
    this.said = element("span", { class: "value" }); // an <output> would take the label from the slider
    this.losses = note();
    this.failure = element("p", { class: "failure", role: "alert" });
    const last = run.moments.length - 1;
    this.input = element("input", {
      type: "range",
      min: 0,
      max: last,
      value: last,
      autocomplete: "off",
      oninput: () => this.#show(),
    });
    this.button = button("", "quiet play", () => this.#press());
    this.root = element(
      "div",
      { class: "moments" },
      element(
        "label",
        { class: "slider stack" },
        element("span", { class: "row" }, "Point in training", this.said),
        this.input,
      ),
      this.button,
      this.losses,
      this.failure,
    );
    this.#setPlaying(null);
    this.#say();
  }

  /** Offer the moments that a training has added, and stay at its last one. */
  follow() {
    const isLast = this.#isLast();
    this.input.max = String(this.run.moments.length - 1);
    if (isLast) this.input.value = this.input.max;
    this.#say();
  }

  /** The iteration that the slider is at. */
  get iteration() {
    return this.run.moments[this.input.value];
  }

  #isLast = () => this.input.value === this.input.max;

  #show() {
    this.#say();
    return this.moved(this.#isLast() ? null : this.iteration);
  }

  #press() {
    if (this.playing) this.playing.abort();
    else this.play();
  }

  /** Show each moment, from this one or, at the last one, from the first, until the reader does something else. */
  async play() {
    const playing = new AbortController();
    const { signal } = playing;
    const pause = (event) => {
      if (event.key !== "Tab" && !this.button.contains(event.target)) playing.abort();
    };
    for (const kind of ["click", "input", "keydown"]) addEventListener(kind, pause, { capture: true, signal });
    signal.addEventListener("abort", () => this.#setPlaying(null));
    this.#setPlaying(playing);
    let next = this.#isLast() ? 0 : Number(this.input.value) + 1;
    for (; next <= Number(this.input.max) && this.root.isConnected && !signal.aborted; next++) {
      this.input.value = String(next);
      await Promise.all([this.#show(), new Promise((resolve) => setTimeout(resolve, SHOWN))]);
    }
    playing.abort();
  }

  #setPlaying(playing) {
    this.playing = playing;
    this.button.textContent = playing ? "❚❚ Pause" : "▶ Play";
  }

  #say() {
    const place = `${count(this.iteration)} of ${count(this.run.iterations)}`;
    this.said.textContent = place;
    this.input.ariaValueText = `iteration ${place}${this.#isLast() ? `, ${this.run.weights}` : ""}`;
    const away = (/** @type {Estimate} */ row) => Math.abs(row.iteration - this.iteration);
    const [nearest] = this.run.curve.toSorted((a, b) => away(a) - away(b));
    this.losses.textContent = nearest
      ? `Validation loss at ${count(nearest.iteration)}: ${nearest.val.toFixed(4)}`
      : "Validation loss: not yet";
  }
}
