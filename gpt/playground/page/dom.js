/** Elements without HTML: content from a run is only ever text. */
/** @import { Run } from "./engines/server.js" */

const LONGEST = 12; // characters of a label

/**
 * element("p", {class: "note", onclick: f}, "text", child): attributes, listeners, and children; null is left out.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} attributes
 * @param {(Node | string | null)[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** A button; `more` are attributes beside those that all have. */
export function button(name, kind, onclick, more = {}) {
  return element("button", { type: "button", class: kind, onclick, ...more }, name);
}

/** A paragraph beside the matter. */
export function note(...children) {
  return element("p", { class: "note" }, ...children);
}

/** A card of a run's panel; on a narrow page, it names the run. */
export function card(/** @type {Run} */ run, attributes, ...children) {
  return element("section", { class: "card", "data-stage": run.stage, ...attributes }, ...children);
}

/** A run's panel, in its column. */
export function panel(/** @type {Run} */ run, side, ...children) {
  return element("article", { class: `panel stack ${side}`, "aria-label": `${run.stage}, ${run.adds}` }, ...children);
}

/** Whether the page is a frame in another one. */
export const isEmbedded = () => document.body.classList.contains("embedded");

/** Whether the page is only the card that trains, until the reader looks inside or a first run is there. */
export const isFirst = () => document.body.classList.contains("first");

/** Whether the reader wants nothing to move by itself. */
export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Scroll the page, if need be, until an element can be read: on a narrow page, its start is brought to the top. */
export function reveal(shown) {
  const isNarrow = matchMedia("(max-width: 60rem)").matches; // as in style.css
  shown.scrollIntoView({ block: isNarrow ? "start" : "nearest" });
}

const MARKS = { "\n": "↵", " ": "␣", "\t": "⇥", "\r": "␍" };

/** A visible form of a token. */
export function visible(token) {
  return token.replace(/[\n \t\r]/g, (character) => MARKS[character]);
}

/** A visible form of a token that fits into a label. */
export function short(token) {
  const characters = Array.from(visible(token));
  return characters.length > LONGEST ? `${characters.slice(0, LONGEST - 1).join("")}…` : characters.join("");
}

/** The columns that a text takes in a fixed-width font. */
export function columns(text) {
  return Array.from(text).reduce((sum, character) => sum + (character >= "\u2e80" ? 2 : 1), 0);
}

/** The name of a token for screen readers. */
export function spoken(token) {
  return { "\n": "new line", " ": "space", "\t": "tab" }[token] ?? visible(token);
}

/** Label a Plot figure as one image with a description, instead of naming each of its parts. */
export function described(picture, words) {
  for (const part of picture.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", words);
  return picture;
}

/** A table of rows under these names; a column may have none. */
export function table(name, columns, rows, caption = null) {
  const heads = columns.map((column) => (column === null ? element("td") : element("th", { scope: "col" }, column)));
  return element(
    "table",
    { class: name },
    caption && element("caption", { class: "note" }, caption),
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
}

/** A row of it, under a name. */
export function row(name, ...cells) {
  return element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, cell)));
}

/** A colour of the theme in a form that canvases and d3 know, which light-dark(…) is not. */
export function colour(name) {
  document.head.style.color = `var(${name})`; // nothing there is displayed
  return getComputedStyle(document.head).color;
}

export const count = new Intl.NumberFormat("en").format;

export const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** A debounced function: called once after a quiet moment, unless cancelled. */
export function debounced(f, milliseconds) {
  let timer;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(f, milliseconds);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/**
 * `f`, called with the newest values only, and never twice at once: those that come while it works replace each other.
 * `f` must not throw.
 * @template {any[]} Values
 * @param {(...values: Values) => Promise<unknown>} f
 */
export function coalesced(f) {
  /** @type {Values | null} */
  let next = null;
  /** @type {Promise<unknown>} */
  let working = Promise.resolve();
  const work = () => {
    const values = next;
    next = null;
    return values && f(...values);
  };
  return (/** @type {Values} */ ...values) => {
    next = values;
    working = working.then(work);
    return working;
  };
}

/** Keeps the newest of several tasks: starting one aborts the one before. Resolves to undefined when aborted. */
export function newest() {
  let controller = new AbortController();
  return {
    /**
     * @template Result
     * @param {(signal: AbortSignal) => Promise<Result>} task
     */
    async run(task) {
      controller.abort();
      controller = new AbortController();
      const { signal } = controller;
      try {
        const result = await task(signal);
        return signal.aborted ? undefined : result;
      } catch (error) {
        if (signal.aborted) return undefined;
        throw error;
      }
    },
    stop: () => controller.abort(),
  };
}

/** Does some work; `failure` shows its error, if any. */
export async function guarded(failure, /** @type {() => unknown} */ work) {
  failure.textContent = "";
  try {
    await work();
  } catch (error) {
    failure.textContent = error.message;
  }
}

/** Runs the newest of several tasks for an element, which is busy meanwhile; `failure` shows the error, if any. */
export function working(root, failure) {
  const tasks = newest();
  let pending = 0;
  return async (/** @type {(signal: AbortSignal) => Promise<void>} */ task) => {
    pending += 1;
    root.ariaBusy = "true";
    await guarded(failure, () => tasks.run(task));
    pending -= 1;
    root.ariaBusy = String(pending > 0);
  };
}
