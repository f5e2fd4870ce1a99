/** From the text to one prediction, step by step, with the numbers of the forward pass. */
/** @import { Run, Tensors } from "./engines/server.js" */
import { button, element, isStill, note, spoken } from "./dom.js";
import { Pass } from "./pass.js";
import { picture } from "./picture.js";
import { stepsOf } from "./steps.js";

const GROWN = 500; // milliseconds, at most, until a frame is as high as its content

export class Flow {
  /** @param {Run} run */
  constructor(run, names) {
    this.run = run;
    this.pass = new Pass(run, names, () => this.#draw());
    /** @type {number | null} */
    this.step = null; // where the reader is; null shows all steps alike
    this.isAlone = false;
    /** @type {string | null} */
    this.sought = null; // the part whose step is to be shown
    this.root = element("div", { class: "flow-view" });
  }

  /** Show the step that explains a part, and what is chosen in it. */
  open(part, chosen) {
    this.sought = part;
    Object.assign(this.pass, chosen);
    if (this.pass.values) this.pass.choose({});
  }

  /** The tensors of the forward pass over a window of token ids, for the prediction after its `row`. */
  show(/** @type {Tensors} */ tensors, window, row) {
    this.pass.take(tensors, window, row);
    this.#draw();
  }

  clear() {
    this.pass.values = null;
    this.root.replaceChildren();
  }

  /** Redraw after a change of colours. */
  redraw() {
    if (this.pass.values) this.#draw();
  }

  #draw() {
    const { pass } = this;
    const focused = document.activeElement?.getAttribute("data-focus");
    const steps = stepsOf(pass);
    if (this.sought) {
      const found = steps.findIndex(({ parts, detail = [] }) => [...detail, ...parts].includes(this.sought));
      this.step = found < 0 ? null : found;
      this.sought = null;
      this.isAlone = true; // without the steps before it, until the reader goes on
    }
    if (this.step !== null) this.step = Math.min(this.step, steps.length - 1);
    const { stage } = this.run;
    this.items = steps.map(({ title, parts, detail, code, shape, body }, i) => {
      const isNew = parts.some((name) => pass.parts.get(name)?.since === stage);
      return element(
        "li",
        {
          class: `step${isNew ? " new" : ""}`,
          "aria-current": i === this.step ? "step" : null,
          "data-part": (detail ? [...detail, ...parts.slice(1)] : parts).join(" "),
        },
        element("h4", { class: "row" }, title, isNew ? element("span", { class: "badge" }, `new in ${stage}`) : null),
        element("code", {}, code),
        ...body,
        shape ? element("span", { class: "arrow" }, `↓ ${shape}`) : null,
      );
    });
    const going = this.step === null ? `${steps.length} steps` : `step ${this.step + 1} of ${steps.length}`;
    const go = (name, place, focus, disabled) =>
      button(name, "quiet", () => this.#go(place), { "data-focus": focus, disabled });
    const isAll = this.step === null;
    const back = go("◀ Back", (this.step ?? 0) - 1, "back", !this.step);
    const next = go(
      isAll ? "Step through" : "Next ▶",
      isAll ? 0 : this.step + 1,
      "next",
      this.step === steps.length - 1,
    );
    const said = element("span", { class: "note", role: "status" }, going);
    const stepper = element("div", { class: "stepper row" }, back, next, said);
    if (!isAll) stepper.append(go("Show all", null, "all", false));
    if (!isAll) this.items[this.step].append(stepper); // within reach, however far down the step is
    const drawn = picture(this.run, steps, this.step, (step) => this.#go(step));
    const list = element("ol", { class: isAll ? "flow" : "flow stepping", "data-alone": this.isAlone }, ...this.items);
    this.root.replaceChildren(
      note(
        `These steps follow “${spoken(pass.tokens[pass.row])}”, after which the run predicts. To follow another ` +
          "token, click the one after it in the text.",
      ),
      element(
        "div",
        { class: "note row" },
        "Each cell is a number: negative",
        element("span", { class: "ramp signed" }),
        "positive. Point at one, or use the arrow keys, to read it.",
      ),
      isAll ? stepper : "",
      element("div", { class: "walk" }, drawn, list),
    );
    if (focused) /** @type {HTMLElement} */ (this.root.querySelector(`[data-focus="${focused}"]`))?.focus();
  }

  /** Go to a step; null for all of them. */
  #go(step) {
    this.step = step;
    this.isAlone = false;
    this.#draw();
    if (step === null) return;
    const behavior = isStill() ? "auto" : "smooth";
    const scroll = () => this.items[this.step]?.scrollIntoView({ block: "nearest", behavior });
    scroll();
    // In a frame, once more when that has grown with its content.
    addEventListener("resize", scroll, { once: true, signal: AbortSignal.timeout(GROWN) });
  }
}
