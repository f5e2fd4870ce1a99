/** The text, coloured by each token's loss: a list box whose options are its tokens and its end. */
/** @import { Score } from "./predictions.js" */
import { element, spoken } from "./dom.js";

const HIGHEST = 5; // nats: losses this large or larger have the full colour

let made = 0; // views, which need ids of their own

export class TextView {
  /** `selected` is called with the position of a chosen token, a `unit`; the position after the last is the end. */
  constructor(selected, unit) {
    this.number = made++;
    /** @type {string[]} */
    this.tokens = [];
    this.position = 0;
    this.root = element("div", {
      class: "text",
      "data-unit": unit,
      role: "listbox",
      tabindex: "0",
      "aria-label": `Text, coloured by the loss of each ${unit}`,
      onclick: (event) => {
        const place = this.spans.indexOf(event.target.closest("span"));
        if (place >= 0) selected(place);
      },
      onkeydown: (event) => {
        const place = this.#after(event.key);
        if (place === null) return;
        event.preventDefault();
        selected(place);
      },
    });
  }

  #after(key) {
    const last = this.tokens.length;
    const places = { ArrowLeft: this.position - 1, ArrowRight: this.position + 1, Home: 0, End: last };
    if (!(key in places)) return null;
    return Math.min(Math.max(places[key], 0), last);
  }

  /** Show tokens, the first `own` of which are the reader's, without colours. */
  show(tokens, own) {
    this.tokens = tokens;
    const option = (text, i, kind, label) =>
      element("span", { role: "option", class: kind, "aria-label": label, id: `text${this.number}-${i}` }, text);
    const options = tokens.map((token, i) => option(written(token), i, i < own ? null : "written", spoken(token)));
    this.root.replaceChildren(...options, option("▸", tokens.length, "end", "what comes next"));
    this.select(Math.min(this.position, tokens.length));
  }

  /** Append text that has just been generated. */
  append(piece) {
    this.root.lastChild.before(element("span", { class: "written fresh" }, written(piece)));
    this.tokens = [...this.tokens, piece];
    this.#reveal(this.root.lastChild);
  }

  /** @param {Score[]} scores */
  colour(scores) {
    const spans = this.spans;
    scores.forEach((score, i) => {
      const span = spans[i];
      span.style.setProperty("--loss", Math.min((score?.loss ?? 0) / HIGHEST, 1).toFixed(3));
      const words = score === null ? "no loss" : `loss ${score.loss.toFixed(2)}, rank ${score.rank}`;
      span.setAttribute("aria-label", `${spoken(this.tokens[i])}: ${words}`);
      span.title = score === null ? "" : `loss ${score.loss.toFixed(2)} · rank ${score.rank}`;
    });
  }

  select(position) {
    this.root.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
    this.position = position;
    const chosen = this.root.children[position];
    chosen.setAttribute("aria-selected", "true");
    this.root.setAttribute("aria-activedescendant", chosen.id);
    this.#reveal(chosen);
  }

  /** Mark the tokens from which the selected one is predicted: those from `start` on. */
  see(start) {
    for (const [i, span] of this.spans.entries()) span.classList.toggle("seen", start <= i && i < this.position);
  }

  /** The element of each token, and of the end. */
  get spans() {
    return /** @type {HTMLElement[]} */ ([...this.root.children]);
  }

  /** Highlight the tokens from `start` on, each by its strength from 0 to 1; `query` is who attends. */
  light(start, strengths, query = null) {
    this.spans.forEach((span, i) => {
      span.style.setProperty("--look", (strengths[i - start] ?? 0).toFixed(3));
      span.classList.toggle("query", i === query);
    });
    this.root.classList.toggle("looking", query !== null);
  }

  /** Scroll the text, not the page, until a token is visible. */
  #reveal(span) {
    const [inner, outer] = [span, this.root].map((element) => element.getBoundingClientRect());
    if (inner.top < outer.top) this.root.scrollTop += inner.top - outer.top - inner.height;
    else if (inner.bottom > outer.bottom) this.root.scrollTop += inner.bottom - outer.bottom + inner.height;
  }
}

/** A token as it stands in a text, with its line breaks marked. */
export const written = (token) => token.replaceAll("\n", "↵\n");

export function legend() {
  const ramp = element("span", { class: "ramp" });
  return element("div", { class: "note row", "aria-hidden": "true" }, "0", ramp, `${HIGHEST} nats or more`);
}
