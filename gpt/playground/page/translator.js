/** A run that translates: its translations with their scores, and the attention of each word to the source. */
/** @import { Beam, Engine, Options, Run } from "./engines/server.js" */
/** @import { Pointed } from "./attention.js" */
import { AttentionView } from "./attention.js";
import { button, card, element, newest, note, panel, reveal } from "./dom.js";
import { SentenceSubwords } from "./encoding.js";
import { Heading } from "./heading.js";

export class TranslatorPanel {
  /** `shown` waits for the task that a click started, and shows its error, if any. */
  constructor(/** @type {Engine} */ engine, /** @type {Run} */ run, side, shown) {
    this.engine = engine;
    this.run = run;
    this.shown = shown;
    this.writing = newest();
    this.looking = newest();
    this.tokenizer = new SentenceSubwords(run);
    /** @type {string | null} */
    this.sentence = null; // that was translated; none yet
    /** @type {string[]} */
    this.words = []; // of the sentence
    /** @type {Beam[]} */
    this.found = [];
    this.heading = new Heading(run);
    this.waiting = element("p", { class: "note", role: "status" });
    this.source = element("p", { class: "words" });
    this.beams = element("ol", { class: "beams stack" });
    this.attention = new AttentionView((pointed) => this.#light(pointed), "word", false);
    this.maps = card(
      run,
      { hidden: true },
      element("h3", {}, "Cross-attention"),
      note("Each row shows what the decoder attended to in the source when it chose that word."),
      this.attention.root,
    );
    this.root = panel(
      run,
      side,
      this.heading.root,
      card(
        run,
        {},
        element("h3", {}, "Translations"),
        this.#alphabet(),
        this.waiting,
        this.source,
        this.beams,
        note("Scores: log probability, divided by the length penalty. Choose a translation to see its attention."),
      ),
      this.maps,
    );
  }

  known(text) {
    return this.tokenizer.known(text).trim();
  }

  unknown(text) {
    return this.tokenizer.unknown(text);
  }

  /**
   * Translate the first sentence, as an example. Later ones are translated on request: until then, nothing is shown of
   * the one before.
   */
  async read(sentence, /** @type {Options} */ options) {
    if (this.sentence === null && this.known(sentence)) return this.write(sentence, options);
    if (sentence === this.sentence) return;
    this.writing.stop();
    this.#clear();
    this.waiting.textContent = "Press Translate.";
  }

  /** @param {Options} options */
  async write(sentence, options) {
    this.sentence = sentence;
    await this.writing.run(async (signal) => {
      const { source, beams } = await this.engine.translate(this.run.id, sentence, options, signal);
      if (signal.aborted) return;
      this.waiting.textContent = "";
      this.words = source;
      this.found = beams;
      this.source.replaceChildren(
        ...source.map((word, i) => element("span", { class: i === source.length - 1 ? "ending note" : null }, word)),
      );
      this.beams.replaceChildren(...beams.map((beam, i) => this.#beam(beam, i)));
      await this.#choose(0);
    });
  }

  /** Bring the translations into view. */
  reveal() {
    reveal(this.source.parentElement);
  }

  stop() {
    this.writing.stop();
  }

  shape() {}

  redraw() {
    this.heading.redraw();
    this.attention.redraw();
  }

  #clear() {
    this.sentence = "";
    this.looking.stop();
    this.source.replaceChildren();
    this.beams.replaceChildren();
    this.maps.hidden = true;
  }

  /** What can be read. */
  #alphabet() {
    const named = [...this.tokenizer.characters].filter((character) => !/[\s\u2581]/u.test(character)).sort();
    return note(`Reads ${named.length} characters: `, element("span", { class: "words" }, named.join(" ")));
  }

  /** @param {Beam} beam */
  #beam(beam, i) {
    const words = beam.tokens.length ? beam.tokens.map((word) => element("span", {}, word)) : ["(empty)"];
    const made = button("", "beam", () => this.shown(this.#choose(i)), { "aria-pressed": "false" });
    made.append(
      element("span", { class: "score" }, beam.score.toFixed(2)),
      element("span", { class: "words" }, ...words),
    );
    return element("li", {}, made);
  }

  async #choose(i) {
    const beam = this.found[i];
    const chosen = beam.ended ? [...beam.tokens, "end"] : beam.tokens;
    const read = beam.ids.slice(0, chosen.length - 1); // the last choice is not read again
    const layers = await this.looking.run((signal) =>
      this.engine.crossAttention(this.run.id, this.sentence, read, signal),
    );
    if (layers === undefined) return;
    const buttons = [...this.beams.querySelectorAll("button")];
    for (const [j, button] of buttons.entries()) button.ariaPressed = String(i === j);
    this.target = buttons[i].querySelector(".words");
    this.maps.hidden = false;
    this.attention.show(
      layers,
      chosen.map((w) => w.trim() || "␣"),
      this.words.map((w) => w.trim() || "␣"),
    );
  }

  /** @param {Pointed | null} pointed */
  #light(pointed) {
    for (const [i, span] of this.source.querySelectorAll("span").entries())
      span.style.setProperty("--look", (pointed?.strengths[i] ?? 0).toFixed(3));
    for (const [i, span] of [...(this.target?.children ?? [])].entries())
      span.classList.toggle("query", i === pointed?.row);
  }
}
