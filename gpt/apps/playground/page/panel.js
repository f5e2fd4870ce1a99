/** A run that continues a text: the text with its losses, the run's predictions and its attention. */
import { AttentionView } from "./attention.js";
import { distribution } from "./distribution.js";
import { card, column, element, newest, spoken, visible } from "./dom.js";
import { Heading } from "./heading.js";
import { meanLoss, ranking, scored, softmax } from "./predictions.js";
import { TextView, legend } from "./text.js";

export class TextPanel {
  /** `selected` is called with the position of a character that the reader chooses. */
  constructor(engine, run, side, selected) {
    Object.assign(this, { engine, run });
    this.vocabulary = Array.from(run.vocabulary);
    this.ids = new Map(this.vocabulary.map((character, id) => [character, id]));
    [this.reading, this.looking, this.writing] = [newest(), newest(), newest()];
    this.characters = [];
    this.scores = [];

    this.heading = new Heading(run);
    this.text = new TextView(selected);
    this.mean = element("p", { class: "mean", role: "status" });
    this.attention = new AttentionView((pointed) => this.#light(pointed));
    this.question = element("h3");
    this.answer = element("p", { class: "note answer" });
    this.bars = element("div");
    this.maps = card(run, {}, element("h3", {}, "Attention"), ...this.#attention());
    const title = element("div", { class: "title" }, element("h3", {}, "Text and losses"), legend());
    this.root = column(
      run,
      side,
      this.heading.root,
      card(run, {}, title, this.mean, this.text.root),
      card(run, {}, this.question, this.answer, this.bars),
      this.maps,
    );
  }

  /** The part of a text that the run knows, and the unknown characters, each once. */
  divided(text) {
    const all = Array.from(text);
    return {
      known: all.filter((character) => this.ids.has(character)),
      unknown: [...new Set(all.filter((character) => !this.ids.has(character)))],
    };
  }

  /** Show a prompt and its losses. */
  async read(prompt, options) {
    this.turn = {}; // do not show any more of the text that is being generated
    this.stop();
    this.options = options;
    const characters = this.divided(prompt).known;
    await this.#score(characters, characters.length);
  }

  /** Generate a continuation of the prompt, then colour it. */
  async write(prompt, options) {
    const { known } = this.divided(prompt);
    const turn = (this.turn = {});
    this.reading.stop();
    this.options = options;
    await this.writing.run(async (signal) => {
      this.text.position = known.length;
      this.text.show(known, known.length);
      this.mean.textContent = "generating …";
      const written = [];
      try {
        for await (const piece of this.engine.write(this.run.id, known.join(""), options, signal)) {
          const characters = Array.from(piece);
          written.push(...characters);
          this.text.append(characters);
        }
      } catch (error) {
        // Text generated before a stop is scored; after a failure, nothing can be.
        if (!signal.aborted) {
          this.#leaveUnscored(known.length);
          throw error;
        }
      }
      if (this.turn !== turn) return;
      await this.#score([...known, ...written], known.length);
    });
  }

  /** Stop generating. */
  stop() {
    this.writing.stop();
  }

  /** Show the prediction at a position and its attention; the position after the text is the end. */
  async select(position) {
    if (this.#isUnread()) return;
    this.text.select(Math.min(position, this.characters.length));
    this.shape(this.options);
    await this.#look();
  }

  /** Show the distribution under new settings. */
  shape(options) {
    this.options = options;
    if (this.#isUnread()) return;
    const position = this.text.position;
    const before = this.characters
      .slice(Math.max(0, position - 12), position)
      .map((c) => (c === " " ? " " : visible(c)));
    const isEnd = position === this.characters.length;
    this.question.textContent = position === 0 ? "The first character" : `After “${before.join("")}”`;
    if (position === 0 || !this.logits) {
      this.answer.textContent = position === 0 ? "No prediction, because no text comes before it." : "";
      this.bars.replaceChildren();
      return;
    }
    const V = this.vocabulary.length;
    const x = this.logits.data.subarray((position - 1) * V, position * V);
    const actual = isEnd ? null : this.ids.get(this.characters[position]);
    this.answer.replaceChildren(
      ...(isEnd
        ? ["Probabilities of the next character with these settings."]
        : this.#verdict(x, position, actual)),
    );
    const width = Math.max(220, Math.min(this.bars.clientWidth || 320, 520));
    this.bars.replaceChildren(
      distribution(x, this.vocabulary, options, { actual, colour: "var(--run)", width }),
    );
  }

  /** Redraw all pictures after a change of colours or width. */
  redraw() {
    this.heading.redraw();
    if (this.options) this.shape(this.options);
    this.attention.redraw();
  }

  /** Whether the displayed text is still being generated, so its losses are not known yet. */
  #isUnread() {
    return this.text.characters !== this.characters;
  }

  async #score(characters, own) {
    await this.reading.run(async (signal) => {
      const logits = characters.length
        ? await this.engine.logits(this.run.id, characters.join(""), signal)
        : null;
      if (signal.aborted) return;
      this.logits = logits;
      this.characters = characters;
      this.own = own;
      this.text.show(characters, own);
      this.scores = logits
        ? scored(
            logits,
            characters.map((character) => this.ids.get(character)),
          )
        : [];
      this.text.colour(this.scores);
      this.mean.replaceChildren(...this.#means());
      await this.select(characters.length);
    });
  }

  /** Keep the text as it is, without losses. */
  #leaveUnscored(own) {
    Object.assign(this, { characters: this.text.characters, own, logits: null, scores: [] });
    this.mean.textContent = "";
    this.shape(this.options);
  }

  #means() {
    const [own, written] = [meanLoss(this.scores.slice(0, this.own)), meanLoss(this.scores.slice(this.own))];
    const parts = [];
    if (own !== null) parts.push("prompt ", element("b", {}, own.toFixed(2)));
    if (written !== null)
      parts.push(own === null ? "" : " · ", "generated ", element("b", {}, written.toFixed(2)));
    return parts.length ? [...parts, " nats per character"] : ["Type at least two characters to see losses."];
  }

  #verdict(x, position, actual) {
    const { loss, rank } = this.scores[position];
    const likeliest = ranking(x)[0];
    const p = softmax(x)[actual];
    const guess = rank === 1 ? "as predicted" : `predicted “${spoken(this.vocabulary[likeliest])}”`;
    return [
      "next was ",
      element("b", {}, `“${spoken(this.vocabulary[actual])}”`),
      `, ${guess}: rank ${rank}, ${(100 * p).toFixed(1)}%, a loss of ${loss.toFixed(2)} nats`,
    ];
  }

  async #look() {
    const position = this.text.position;
    this.start = Math.max(0, position - this.run.block_size);
    const window = this.characters.slice(this.start, position);
    if (!window.length || this.lacksAttention) {
      this.looking.stop();
      this.text.light(0, []);
      return;
    }
    const layers = await this.looking.run((signal) =>
      this.engine.attention(this.run.id, window.join(""), signal),
    );
    if (layers === undefined) return;
    this.lacksAttention = layers.length === 0;
    if (this.lacksAttention) {
      this.maps.replaceChildren(
        element("h3", {}, "Attention"),
        element(
          "p",
          { class: "note" },
          "None at this stage: the prediction depends only on the last character.",
        ),
      );
      return;
    }
    this.attention.show(layers, window, window);
    this.#light(null);
  }

  /** Highlight what a row of the enlarged map attends to; without a row, what the selected prediction attended to. */
  #light(pointed) {
    const T = this.attention.rows.length;
    if (pointed) this.text.light(this.start, pointed.weights, this.start + pointed.row);
    else this.text.light(this.start, this.attention.weights(T - 1));
  }

  #attention() {
    return [
      element(
        "p",
        { class: "note" },
        "Each row shows what one character attends to, scaled to its largest weight. " +
          "The last row belongs to the prediction above; the text underlines what it attends to.",
      ),
      this.attention.root,
    ];
  }
}
