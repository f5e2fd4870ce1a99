/** A slider over the moments of a run's training that it kept, from its first iteration to the run as it is shown. */
/** @import { Estimate, Run } from "./engines/server.js" */
import { count, element } from "./dom.js";

export class Moments {
  /**
   * `moved` is called with the moment that the reader chooses: an iteration, or null for the run as it is shown.
   * @param {Run} run
   */
  constructor(run, moved) {
    this.run = run;
    this.said = element("span", { class: "value" }); // an <output> would take the label from the slider
    this.losses = element("p", { class: "note" });
    this.failure = element("p", { class: "failure", role: "alert" });
    const last = run.moments.length - 1;
    this.input = element("input", {
      type: "range",
      min: 0,
      max: last,
      value: last,
      autocomplete: "off",
      oninput: () => {
        this.#say();
        moved(this.#isLast() ? null : this.iteration);
      },
    });
    this.root = element(
      "div",
      { class: "moments" },
      element("label", { class: "slider" }, element("span", {}, "Point in training", this.said), this.input),
      this.losses,
      this.failure,
    );
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

  #say() {
    const place = `${count(this.iteration)} of ${count(this.run.iterations)}`;
    this.said.textContent = place;
    this.input.ariaValueText = `iteration ${place}${this.#isLast() ? `, ${this.run.weights}` : ""}`;
    this.losses.textContent = `Validation loss: ${losses(this.run.curve, this.iteration)}`;
  }
}

/**
 * The estimate at an iteration, or those before and after it.
 * @param {Estimate[]} curve
 */
function losses(curve, iteration) {
  const found = curve.findIndex((row) => row.iteration >= iteration);
  const after = found < 0 ? curve.length : found;
  if (curve[after]?.iteration === iteration) return curve[after].val.toFixed(4);
  return curve
    .slice(Math.max(after - 1, 0), after + 1)
    .map((row) => `${row.val.toFixed(2)} at ${count(row.iteration)}`)
    .join(", ");
}
