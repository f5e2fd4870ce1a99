/** A run with parts turned off by a click, and what this does to the loss of every token. */
/** @import { Engine, Run } from "./engines/server.js" */
/** @import { Shown } from "./inside.js" */
import { button, element, note, percent, spoken, working } from "./dom.js";
import { meanLoss, ranking, scored, softmax } from "./predictions.js";
import { shownNumber } from "./strips.js";
import { TextView } from "./text.js";

export class Ablation {
  /**
   * `selected` is called with the position of a token that the reader chooses; `only` is in the names of the parts that
   * can be turned off.
   */
  constructor(/** @type {Engine} */ engine, /** @type {Run} */ run, names, selected, only = "") {
    this.engine = engine;
    this.run = run;
    this.only = only;
    this.names = names;
    /** @type {Set<string>} */
    this.off = new Set();
    /** @type {Map<HTMLButtonElement, string[]>} */
    this.switches = new Map(); // the parts that each turns off
    /** @type {Shown | null} */
    this.what = null;
    this.text = new TextView(selected, run.token);
    this.text.root.classList.add("switched");
    this.text.root.setAttribute("aria-label", `Text, coloured by the loss of each ${run.token} with these parts off`);
    this.effect = element("p", { class: "effect", role: "status" });
    this.prediction = note();
    this.reset = button("All on", "quiet", () => this.#turn(() => this.off.clear()));
    const failure = element("p", { class: "failure", role: "alert" });
    const rows = Object.entries(run.switches).map((row) => this.#row(row));
    this.root = element(
      "div",
      { class: "ablation" },
      note(
        only
          ? "A part that is pressed is off. The redder a character, the more it surprises the model."
          : "Click a part to turn it off, and again to turn it on. A head that is off gives zeros, " +
              "to which a projection still adds its bias. A layer or feed-forward layer that is off passes on what it " +
              "reads. Without x +, what is computed from x replaces x.",
      ),
      element("div", { class: "switches" }, ...rows, this.reset),
      this.effect,
      this.text.root,
      this.prediction,
      failure,
    );
    this.work = working(this.root, failure);
  }

  /** Show the text with the parts that are off, or nothing. */
  async show(/** @type {Shown | null} */ what, signal) {
    this.what = what;
    for (const [button, parts] of this.switches) button.ariaPressed = String(this.#isOff(parts));
    this.reset.disabled = !this.off.size;
    this.text.root.hidden = what === null;
    if (what === null) {
      this.effect.textContent = this.prediction.textContent = "";
      return;
    }
    const { model, ids, position } = what;
    const logits = this.off.size ? await this.engine.logits(model, ids, signal, [...this.off]) : what.logits;
    if (signal?.aborted) return;
    const scores = scored(logits, ids);
    this.text.position = position;
    const tokens = ids.map((id) => this.names[id]);
    this.text.show(tokens, tokens.length);
    this.text.colour(scores);
    this.#sayEffect(scores);
    const V = this.run.vocabulary_size;
    const [before, after] = [what.logits, logits].map(({ data }) =>
      softmax(data.subarray((position - 1) * V, position * V)),
    );
    const token = position < ids.length ? ids[position] : ranking(before)[0];
    const which = position < ids.length ? "the selected" : "the likeliest next";
    this.prediction.textContent =
      `“${spoken(this.names[token])}”, ${which} ${this.run.token}: ` +
      `${percent(before[token])} → ${percent(after[token])}; ` +
      `now the likeliest is “${spoken(this.names[ranking(after)[0]])}”.`;
  }

  /** Let the parts be off whose names have this in them, and no others. */
  turnOff(named) {
    this.off = new Set(named ? this.run.parts.filter((part) => part.includes(named)) : []);
  }

  #sayEffect(scores) {
    const [before, after] = [meanLoss(this.what.scores), meanLoss(scores)];
    if (before === null) {
      this.effect.textContent = `Type at least two ${this.run.token}s to see losses.`;
      return;
    }
    const gain = after - before;
    const said = this.off.size ? ` (${gain < 0 ? "" : "+"}${shownNumber(gain, 2)})` : ": everything is on";
    const shown = (name, loss) => element("b", { class: name }, loss.toFixed(2));
    const [was, is] = [shown("before", before), shown("after", after)];
    this.effect.replaceChildren(was, " → ", is, ` nats per ${this.run.token}${said}`);
  }

  /** A row of switches for the whole run, or for a layer; null if none of them is offered. */
  #row([title, switches]) {
    const offered = Object.entries(switches).filter(([, parts]) => parts.every((part) => part.includes(this.only)));
    const buttons = offered.map(([name, parts]) => {
      const turn = () => {
        const isOff = this.#isOff(parts);
        for (const part of parts) isOff ? this.off.delete(part) : this.off.add(part);
      };
      const made = button(name, "switch", () => this.#turn(turn), {
        "data-part": parts.map((part) => part.replace(/^blocks\.\d+\./, "")).join(" "), // as linked.js names them
        "aria-pressed": "false",
        "aria-label": title === "run" ? `${name} off` : `${title}, ${name} off`,
      });
      this.switches.set(made, parts);
      return made;
    });
    if (!buttons.length) return null;
    return element(
      "div",
      { class: "switch-row row" },
      element("span", { class: "layer-name note" }, this.only && title === "run" ? "all" : title),
      ...buttons,
    );
  }

  #isOff = (parts) => parts.every((part) => this.off.has(part));

  /** Change what is off, and show the text again; of several quick changes, the last one counts. */
  #turn(change) {
    change();
    this.work((signal) => this.show(this.what, signal));
  }
}
