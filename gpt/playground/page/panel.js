/** A run that continues a text: the text with its losses, the run's predictions and its attention. */
/** @import { Engine, Model, Options, Run, Tensor, Tensors } from "./engines/server.js" */
/** @import { Pointed } from "./attention.js" */
/** @import { Score, Values } from "./predictions.js" */
import { AttentionView } from "./attention.js";
import { countsTable, tested } from "./causes.js";
import { contexts, isOfLast } from "./contexts.js";
import { distribution } from "./distribution.js";
import { card, coalesced, element, newest, panel, percent, reveal, spoken, visible } from "./dom.js";
import { tokenizer } from "./encoding.js";
import { Heading } from "./heading.js";
import { Inside } from "./inside.js";
import { jumps } from "./jumps.js";
import { meanLoss, ranking, scored, softmax } from "./predictions.js";
import { legend, TextView } from "./text.js";
import { seenFrom } from "./windows.js";

export class TextPanel {
  /**
   * `select` is called with this panel and the position of a token that the reader chooses, `scrub` with this panel and
   * a moment of the training.
   */
  constructor(/** @type {Engine} */ engine, /** @type {Run} */ run, side, { select, scrub }) {
    this.engine = engine;
    this.run = run;
    /** @type {Model} */
    this.model = { run: run.id, moment: null };
    const selected = (position) => select(this, position);
    this.tokenizer = tokenizer(run);
    this.reading = newest();
    this.looking = newest();
    this.writing = newest();
    this.prompt = ""; // of the displayed text, once it is complete
    this.written = ""; // after the prompt
    /** @type {number[]} */
    this.ids = [];
    /** @type {string[]} */
    this.tokens = []; // the ids as they are shown
    /** @type {Tensor | null} */
    this.logits = null;
    /** @type {Score[]} */
    this.scores = [];
    this.own = 0; // tokens of the prompt
    this.reach = Infinity; // the tokens that a prediction depends on at most, once that was tested

    this.heading = new Heading(run, (moment) => scrub(this, moment));
    this.text = new TextView(selected, run.token);
    this.mean = element("p", { class: "note mean", role: "status" });
    this.attention = new AttentionView((pointed) => this.#light(pointed), run.token, true);
    this.question = element("h3");
    this.answer = element("p", { class: "note answer" });
    this.shaping = element("div"); // for the sliders: controls.js
    this.bars = element("div");
    this.looks = element("p", { class: "note" });
    this.restsOn = element("h3", {}, "Attention");
    this.contexts = element("div");
    this.drawContexts = () => {}; // in its width, which is none while the frame is hidden
    this.tested = element("p", { class: "note tested" });
    this.counts = element("div", { hidden: true });
    this.maps = card(
      run,
      { "data-part": "attention" },
      this.counts,
      this.restsOn,
      this.tested,
      this.looks,
      this.contexts,
      this.attention.root,
    );
    this.jumps = element("div"); // of a line with an answer
    const title = run.answers_only
      ? element("h3", {}, "The line")
      : element("div", { class: "title row" }, element("h3", {}, "Text and losses"), legend());
    this.texts = card(run, { class: "card texts" }, title, this.mean, this.text.root, this.jumps);
    this.inside = new Inside(engine, run, this.tokenizer.shown, selected);
    this.predicted = card(
      run,
      { class: "card predicted row", "data-part": "softmax lm_head table trust" },
      element("div", {}, this.question, this.answer, this.shaping),
      element("div", {}, this.bars),
    );
    /** @type {(layers: Tensor[]) => void} */
    this.looked = () => {}; // after each selection, and again with its attention: payoff.js
    this.root = panel(run, side, this.heading.root, this.texts, this.predicted, this.maps, this.inside.root);
  }

  /** The part of a text that the run can read. */
  known(text) {
    return this.tokenizer.known(text);
  }

  /** The characters that it cannot read, each once. */
  unknown(text) {
    return this.tokenizer.unknown(text);
  }

  /** How many characters begin in each token of the text. */
  characters() {
    return this.ids.map((id) => this.tokenizer.characters(id));
  }

  /** The bytes before a position, by which the other run's token is found; the end is the end of both. */
  offset(position) {
    if (position >= this.ids.length) return Infinity;
    return this.ids.slice(0, position).reduce((sum, id) => sum + this.tokenizer.bytes(id).length, 0);
  }

  /** The position of the token that has this byte. */
  position(offset) {
    let end = 0;
    for (const [place, id] of this.ids.entries()) {
      end += this.tokenizer.bytes(id).length;
      if (end > offset) return place;
    }
    return this.ids.length;
  }

  /** Show a prompt and its losses. */
  async read(prompt, /** @type {Options} */ options) {
    this.turn = {}; // do not show any more of the text that is being generated
    this.stop();
    this.options = options;
    await this.#score(prompt, "");
  }

  /** Generate a continuation of the prompt, then colour it. */
  async write(prompt, /** @type {Options} */ options) {
    const turn = {};
    this.turn = turn;
    this.reading.stop();
    this.options = options;
    await this.writing.run(async (signal) => {
      const known = this.known(prompt);
      const tokens = this.tokenizer.encode(known).map((id) => this.tokenizer.shown[id]);
      this.text.position = tokens.length;
      this.text.show(tokens, tokens.length);
      this.mean.textContent = "generating …";
      let written = "";
      try {
        for await (const piece of this.engine.write(this.model, known, options, signal)) {
          if (!piece) continue;
          written += piece;
          this.text.append(piece);
        }
      } catch (error) {
        // Text generated before a stop is scored; after a failure, nothing can be.
        if (!signal.aborted) {
          this.#showUnscored(prompt, written);
          throw error;
        }
      }
      if (this.turn !== turn) return;
      await this.#score(prompt, written);
    });
  }

  /** Show everything as the run was at another moment of its training; of several quick moves, the last one counts. */
  scrub = coalesced(async (/** @type {number | null} */ moment) => {
    this.model = { ...this.model, moment };
    this.heading.redraw();
    this.heading.moments.failure.textContent = "";
    if (this.#isUnread()) return this.stop(); // what has been generated so far is then scored
    try {
      await this.reading.run((signal) => this.#reread(signal));
    } catch (error) {
      this.heading.moments.failure.textContent = error.message;
      this.#showUnscored(this.prompt, this.written);
    }
  });

  /** Show everything as a training has made it by now, unless the reader looks at an earlier moment. */
  follow() {
    this.heading.follow();
    if (this.model.moment !== null) return;
    if (this.#isUnread())
      this.model = { ...this.model }; // whose losses are then computed again
    else this.scrub(null);
  }

  /**
   * Show the prediction after `at` tokens, and next to the text what is to be opened: the maps, or what Inside has of
   * this name.
   */
  async open(/** @type {Record<string, string>} */ { at, open, ...chosen }) {
    if (!open) return;
    const { layer = 1, head = 1 } = chosen;
    if (open !== "off" || !this.inside.fronted) this.texts.closest("details")?.setAttribute("open", "");
    this.texts.after(open === "maps" ? this.maps : this.inside.root);
    if (open === "maps") this.attention.choose(chosen.head ? [layer - 1, head - 1] : null);
    else this.inside.open(open, { layer: layer - 1, head: head - 1, met: Number(chosen.step ?? 0) }, chosen.off);
    if (at) await this.select(Math.min(at, this.tokens.length));
  }

  /** Bring the text into view. */
  reveal() {
    reveal(this.texts);
  }

  /** Stop generating. */
  stop() {
    this.writing.stop();
  }

  /** Show the prediction at a position and its attention; the position after the text is the end. */
  async select(position) {
    if (this.#isUnread()) return;
    this.text.select(Math.min(position, this.tokens.length));
    this.shape(this.options);
    await this.#look();
  }

  /** Show the distribution under new settings. */
  shape(options) {
    this.options = options;
    if (this.#isUnread()) return;
    const position = this.text.position;
    const seen = this.#seen(position);
    this.text.see(seen);
    const last = this.tokens.slice(Math.max(seen, position - 12), position).map(visible);
    while (last.length > 1 && last.join("").length > 24) last.shift();
    const cut = last.length < position - seen ? "…" : "";
    const before = cut + last.join("").replaceAll("␣", " ");
    const isEnd = position === this.tokens.length;
    this.question.textContent = position === 0 ? `The first ${this.run.token}` : `After “${before}”`;
    if (position === 0 || !this.logits) {
      this.answer.textContent = position === 0 ? "No prediction, because no text comes before it." : "";
      this.bars.replaceChildren();
      return;
    }
    const x = this.#logitsAt(position);
    const actual = isEnd ? null : this.ids[position];
    this.answer.replaceChildren(
      ...(isEnd
        ? [`Probabilities of the next ${this.run.token} with these settings.`]
        : this.#verdict(x, position, actual)),
    );
    const width = Math.max(220, Math.min(this.bars.clientWidth || 320, 520));
    this.bars.replaceChildren(
      distribution(x, this.tokenizer.shown, options.sampling, {
        ids: this.ids.slice(Math.max(0, Math.min(position, this.own) - this.run.block_size), position),
        unit: this.run.token,
        actual,
        colour: "var(--run)",
        width,
      }),
    );
  }

  /** Redraw all pictures after a change of colours or width. */
  redraw() {
    this.heading.redraw();
    if (this.options) this.shape(this.options);
    this.attention.redraw();
    this.drawContexts();
    this.inside.redraw();
  }

  /** The first token from which the one at a position is predicted. */
  #seen(position) {
    return Math.max(seenFrom(position, this.ids.length, this.run), position - this.reach);
  }

  /** The prediction of the token at a position. */
  #logitsAt(position) {
    const V = this.run.vocabulary_size;
    return this.logits.data.subarray((position - 1) * V, position * V);
  }

  /** Whether the displayed text is still being generated, so its losses are not known yet. */
  #isUnread() {
    return this.text.tokens !== this.tokens;
  }

  async #score(prompt, written) {
    await this.reading.run(async (signal) => {
      const ids = this.#encoded(prompt, written).flat();
      let logits = null;
      try {
        for (let model = null; ids.length && model !== this.model && !signal.aborted; ) {
          model = this.model; // which the reader may change meanwhile
          logits = await this.engine.logits(model, ids, signal);
        }
      } catch (error) {
        if (!signal.aborted) this.#showUnscored(prompt, written);
        throw error;
      }
      if (signal.aborted) return;
      this.#show(prompt, written);
      this.#colour(logits);
      await this.select(ids.length);
    });
  }

  /** Show the text again, as another moment's weights read it. */
  async #reread(signal) {
    if (!this.ids.length) return;
    this.reach = Infinity;
    const logits = await this.engine.logits(this.model, this.ids, signal);
    if (signal.aborted) return;
    this.#colour(logits);
    await this.select(this.text.position);
  }

  /** The ids of the prompt and of the text generated after it, apart: where they meet, no token is part of both. */
  #encoded(prompt, written) {
    return [this.known(prompt), written].map((text) => this.tokenizer.encode(text));
  }

  /** Show a complete text, without losses. */
  #show(prompt, written) {
    const [own, more] = this.#encoded(prompt, written);
    this.prompt = this.known(prompt);
    this.written = written;
    this.own = own.length;
    this.ids = [...own, ...more];
    this.tokens = this.ids.map((id) => this.tokenizer.shown[id]);
    this.logits = null;
    this.scores = [];
    this.text.show(this.tokens, this.own);
    this.mean.textContent = "";
  }

  /** Colour the text by its losses; one without tokens has no logits. */
  #colour(/** @type {Tensor | null} */ logits) {
    this.logits = logits;
    this.scores = logits ? scored(logits, this.ids) : [];
    const { answers_only: isOfAnswers, block_size: answer } = this.run; // in a line that fills the window
    this.text.colour(isOfAnswers ? this.scores.map((score, i) => (i === answer ? score : null)) : this.scores);
    this.mean.replaceChildren(...this.#means());
  }

  /** Show a text whose losses could not be had. */
  #showUnscored(prompt, written) {
    this.#show(prompt, written);
    this.looking.stop();
    this.inside.show(null);
    this.shape(this.options);
    this.#showNoAttention("");
  }

  #means() {
    if (this.run.answers_only) return ["Only the answer at the end of a line was a target: the rest is unpredictable."];
    const [own, written] = [meanLoss(this.scores.slice(0, this.own)), meanLoss(this.scores.slice(this.own))];
    const parts = [];
    if (own !== null) parts.push("prompt ", element("b", {}, own.toFixed(2)));
    if (written !== null) parts.push(own === null ? "" : " · ", "generated ", element("b", {}, written.toFixed(2)));
    const { token, block_size: T, stride } = this.run;
    if (!parts.length) return [`Type at least two ${token}s to see losses.`];
    const beyond = `; beyond the first window, each with at least ${T - stride} before it`; // evaluate.py's are adjacent
    return [...parts, ` nats per ${token}`, this.ids.length > T ? beyond : ""];
  }

  #verdict(x, position, actual) {
    const { loss, rank } = this.scores[position];
    const likeliest = ranking(x)[0];
    const p = softmax(x)[actual];
    const guess = rank === 1 ? "as predicted" : `predicted “${spoken(this.tokenizer.shown[likeliest])}”`;
    return [
      "next was ",
      element("b", {}, `“${spoken(this.tokenizer.shown[actual])}”`),
      `, ${guess}: rank ${rank}, ${percent(p)}, a loss of ${loss.toFixed(2)} nats`,
    ];
  }

  /** Show what the selected prediction rests on. */
  async #look() {
    const position = this.text.position;
    this.start = this.#seen(position);
    const window = this.ids.slice(this.start, position);
    if (!window.length) {
      this.looking.stop();
      this.inside.show(null);
      return this.#showNoAttention("Nothing to attend to: no text comes before it.");
    }
    const x = this.logits && this.#logitsAt(position);
    const { model, ids, start, logits, scores } = this;
    this.inside.show(logits && { model, ids, start, position, logits, scores });
    this.looked([]);
    const found = await this.looking.run((signal) => this.#inside(window, signal));
    if (found === undefined) return;
    const { layers, off } = found;
    this.looked(layers);
    this.#showCauses(x, off, window);
    const tokens = window.map((id) => this.tokenizer.shown[id]);
    if (layers.length === 0) return this.#showContexts(off.moved.data, tokens);
    this.looks.textContent =
      `Each row shows what one ${this.run.token} attends to. The last row belongs to the prediction above; ` +
      "the text underlines what it attends to. The line above the text marks the window: all that the run has read.";
    this.attention.show(layers, tokens, tokens);
    if (this.run.answers_only) this.jumps.replaceChildren(jumps(layers, tokens, this.texts.clientWidth) ?? "");
    this.#light(null);
  }

  /** The attention over a window, and its prediction with parts turned off. */
  async #inside(window, signal) {
    try {
      const { engine, model } = this;
      const [layers, off] = await Promise.all([
        engine.attention(model, window, signal),
        engine.interventions(model, window, signal),
      ]);
      return { layers, off };
    } catch (error) {
      if (!signal.aborted) this.#showNoAttention("");
      throw error;
    }
  }

  #showCauses(/** @type {Values | null} */ x, /** @type {Tensors} */ off, window) {
    const { shown } = this.tokenizer;
    this.tested.textContent = x ? tested(x, off, shown) : "";
    this.counts.hidden = !("counts_p" in off);
    if (this.counts.hidden) return;
    const tokens = window.map((id) => shown[id]);
    this.counts.replaceChildren(element("h3", {}, "Counts"), countsTable(off, tokens, shown));
  }

  /** Of a run without attention: how much each shorter context changes the prediction. */
  #showContexts(moved, tokens) {
    const { token } = this.run;
    this.restsOn.textContent = "How far back it reads";
    this.#showNoAttention(
      isOfLast(moved)
        ? `No attention at this stage. Tested: the prediction is the same from the last ${token} alone.`
        : "No attention at this stage. Each bar shows how much of the probability moves to other tokens if the run " +
            `reads the text only from this ${token} on.`,
    );
    if (!isOfLast(moved)) {
      this.drawContexts = () => this.contexts.replaceChildren(contexts(moved, tokens, this.contexts.clientWidth));
      return this.drawContexts();
    }
    if (this.reach === 1) return;
    this.reach = 1;
    this.shape(this.options);
  }

  #showNoAttention(why) {
    this.drawContexts = () => this.contexts.replaceChildren();
    this.drawContexts();
    this.jumps.replaceChildren();
    this.attention.clear();
    if (!this.text.position || !this.logits) {
      this.tested.textContent = "";
      this.counts.hidden = true;
    }
    this.looks.textContent = why;
    this.text.light(0, []);
  }

  /** Highlight what a row of the enlarged map attends to; without a row, what the selected prediction attended to. */
  #light(/** @type {Pointed | null} */ pointed) {
    const T = this.attention.rows.length;
    if (pointed) this.text.light(this.start, pointed.strengths, this.start + pointed.row);
    else this.text.light(this.start, this.attention.strengths(T - 1));
  }
}
