/** Attention: a small map for every layer and head, one of them enlarged; a row shows what one token attends to. */
/** @import { Tensor } from "./engines/server.js" */
import { button, element, spoken } from "./dom.js";
import { labelWidths, large, paint, strengths } from "./maps.js";
import { ranking } from "./predictions.js";

const SMALL = 56; // CSS pixels
const LARGER = 104; // of a stage with few heads
const FEW = 4; // heads
const LABELLED = 40; // rows or columns, at most, that have room for labels

/**
 * The row that is pointed at.
 * @typedef {{row: number, strengths: Float32Array}} Pointed
 */

export class AttentionView {
  /**
   * `looked` is called with the row that is pointed at, or with null when none is.
   * `what` says what a row is, in a word: a token of the text itself if `isCausal`, else of a translation.
   */
  constructor(/** @type {(pointed: Pointed | null) => void} */ looked, what, isCausal) {
    this.looked = looked;
    this.what = what;
    this.isCausal = isCausal;
    /** @type {Tensor[] | null} */
    this.layers = null;
    /** @type {[layer: number, head: number] | null} */
    this.chosen = null; // the mean of all
    /** @type {number | null} */
    this.row = null;
    this.small = element("div", {
      class: "maps stack",
      role: "group",
      "aria-label": "Attention maps by layer and head",
    });
    this.canvas = element("canvas", {
      class: "large",
      tabindex: "0",
      role: "img",
      onpointermove: (event) => this.#point(this.#rowAt(event)),
      onpointerdown: (event) => this.#point(this.#rowAt(event)),
      onpointerleave: () => this.#point(null),
      onblur: () => this.#point(null),
      onkeydown: (event) => this.#step(event),
    });
    this.title = element("p", { class: "map-title" });
    this.said = element("p", { class: "note said", role: "status" });
    const ramp = element("span", { class: "ramp looks" });
    this.root = element(
      "div",
      { class: "attention row", hidden: true },
      element("div", { class: "scale note row", "aria-hidden": "true" }, "0", ramp, "the row’s largest"),
      this.small,
      element("div", { class: "enlarged" }, this.title, this.canvas, this.said),
    );
  }

  /** Show layers of [H, T, S], and the tokens of the T rows and of the S columns. */
  show(/** @type {Tensor[]} */ layers, rows, columns) {
    this.layers = layers;
    this.rows = rows;
    this.columns = columns;
    this.row = null;
    if (!(this.chosen?.[1] < layers[this.chosen?.[0]]?.shape[0])) this.chosen = null; // as another run has fewer heads
    const heads = layers.reduce((sum, layer) => sum + layer.shape[0], 0);
    this.small.classList.toggle("few", heads <= FEW);
    const buttons = layers.map((layer, l) => {
      const ofHeads = Array.from({ length: layer.shape[0] }, (_, h) => this.#button([l, h]));
      return element(
        "div",
        { class: "layer row" },
        element("span", { class: "layer-name note" }, `layer ${l + 1}`),
        ...ofHeads,
      );
    });
    this.small.replaceChildren(...(heads > 1 ? [this.#button(null), ...buttons] : []));
    this.root.hidden = false;
    this.root.classList.toggle("wide", this.#isLarge());
    this.#draw();
  }

  /** Enlarge the map of a head, or the mean of all. */
  choose(/** @type {[layer: number, head: number] | null} */ which) {
    this.chosen = which;
    if (!this.layers) return;
    this.redraw();
    this.looked(null);
  }

  /** Show nothing. */
  clear() {
    this.layers = null;
    this.root.hidden = true;
  }

  /** How strongly a row of the enlarged map lights each token. */
  strengths(row) {
    return strengths(this.#weights(row));
  }

  /** The weights of a row, of the tokens that it can attend to. */
  #weights(row) {
    const { weights, S } = this.#map(this.chosen);
    return weights.subarray(row * S, row * S + (this.isCausal ? row + 1 : S));
  }

  /** Redraw after a change of colours or width. */
  redraw() {
    if (this.layers) this.show(this.layers, this.rows, this.columns);
  }

  #button(which) {
    const name = which === null ? "mean of all heads" : `layer ${which[0] + 1}, head ${which[1] + 1}`;
    const canvas = element("canvas", { "aria-hidden": "true" });
    paint(canvas, this.#map(which), this.small.classList.contains("few") ? LARGER : SMALL);
    const choose = () => {
      this.choose(which);
      /** @type {HTMLElement} */ (this.small.querySelector("[aria-pressed=true]")).focus();
    };
    const isChosen = String(`${which}` === `${this.chosen}`);
    const made = button("", "map", choose, { title: name, "aria-label": name, "aria-pressed": isChosen });
    made.append(canvas, ...(which === null ? [element("span", {}, "mean")] : []));
    return made;
  }

  #map(which) {
    const [, T, S] = this.layers[0].shape;
    return { weights: this.#weightsOf(which, T, S), T, S, isCausal: this.isCausal };
  }

  #weightsOf(which, T, S) {
    if (which !== null) return this.layers[which[0]].data.subarray(which[1] * T * S, (which[1] + 1) * T * S);
    const mean = new Float32Array(T * S);
    const heads = this.layers.reduce((sum, layer) => sum + layer.shape[0], 0);
    for (const { shape, data } of this.layers) {
      for (let i = 0; i < shape[0] * T * S; i++) mean[i % (T * S)] += data[i] / heads;
    }
    return mean;
  }

  #isLarge = () => Math.max(this.rows.length, this.columns.length) > LABELLED;

  #draw() {
    const [layer, head] = this.chosen ?? [];
    const isSingle = this.layers.length === 1 && this.layers[0].shape[0] === 1;
    const mean = isSingle ? "Layer 1, its only head" : "Mean of all heads";
    const name = this.chosen === null ? mean : `Layer ${layer + 1}, head ${head + 1}`;
    this.title.textContent = name;
    this.canvas.setAttribute(
      "aria-label",
      `${name}: ${this.rows.length} rows, one for each ${this.what}. Use the up and down arrow keys to select a row.`,
    );
    const room = this.canvas.parentElement.clientWidth || 320;
    const labels = this.#isLarge() ? null : labelWidths(this.rows, this.columns);
    this.frame = large(this.canvas, this.#map(this.chosen), this.rows, this.columns, {
      room,
      chosen: this.row,
      labels,
    });
  }

  #rowAt(event) {
    const { top, size, rows } = this.frame;
    const row = Math.floor((event.offsetY - top) / size);
    return row >= 0 && row < rows ? row : null;
  }

  #step(event) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const last = this.rows.length - 1;
    this.#point(this.row === null ? (step > 0 ? 0 : last) : Math.min(Math.max(this.row + step, 0), last));
  }

  #point(row) {
    if (row === this.row || !this.layers) return;
    this.row = row;
    this.#draw();
    if (row === null) {
      this.said.textContent = "";
      this.looked(null);
      return;
    }
    const weights = this.#weights(row);
    const best = ranking(weights).slice(0, 3);
    const listed = best.map((i) => `${spoken(this.columns[i])} ${percent(weights[i])}`);
    this.said.textContent = `“${spoken(this.rows[row])}” attends to ${listed.join(", ")}`;
    this.looked({ row, strengths: this.strengths(row) });
  }
}

const percent = (weight) => (weight < 0.005 ? "<1%" : `${(100 * weight).toFixed(0)}%`);
