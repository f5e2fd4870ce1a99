/** A forward pass by name, and the layer, head and token of it that the reader has chosen. */
/** @import { Part, Run, Tensors } from "./engines/server.js" */
import { ranking } from "./predictions.js";
import { strip } from "./strips.js";

export class Pass {
  /** `names` are those of the vocabulary; `changed` is called when the reader chooses. */
  constructor(/** @type {Run} */ run, names, changed) {
    this.flow = run.flow;
    const parts = run.flow.flatMap((row) => [...row.parts, row.block, row.sum]).filter((part) => part !== null);
    /** @type {Map<string, Part>} */
    this.parts = new Map(parts.map((part) => [part.name, part])); // of the run's picture, by name
    this.branches = branchesOf(run);
    this.names = names;
    this.changed = changed;
    this.layer = 0;
    this.head = 0;
    this.key = 0;
    this.met = 0; // steps that the reader has gone in attending.js
    /** @type {Record<string, Float32Array> | null} */
    this.values = null; // by name
  }

  /** Take the tensors over a window of token ids, for the prediction after its `row`. */
  take(/** @type {Tensors} */ tensors, window, row) {
    this.row = row;
    this.tokens = window.map((id) => this.names[id]);
    this.values = Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data]));
    this.shapes = Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
    this.layers = Object.keys(tensors)
      .filter((name) => name.endsWith("attention.q"))
      .map((name) => name.slice(0, -"attention.q".length))
      .sort(byNumber);
    this.layer = Math.min(this.layer, Math.max(0, this.layers.length - 1));
    if (this.layers.length) this.key = this.#strongest();
  }

  /** Choose a layer, or a head and a token that it may look at. */
  choose(changes) {
    Object.assign(this, changes);
    if (!("key" in changes)) this.key = this.#strongest();
    this.changed();
  }

  get prefix() {
    return this.layers[this.layer];
  }

  /** A tensor of the chosen layer, or its part for one head and one token; null if the stage has none. */
  of(name, ...indices) {
    const path = `${this.prefix}${name}`;
    if (!(path in this.values)) return null;
    const size = this.shapes[path].slice(indices.length).reduce((a, b) => a * b, 1);
    const start = indices.reduce((sum, index, i) => sum * this.shapes[path][i] + index, 0) * size;
    return this.values[path].subarray(start, start + size);
  }

  /** What a branch of the chosen layer reads. */
  streamBefore(branch) {
    const before = this.branches[this.branches.indexOf(branch) - 1];
    if (before) return this.values[`stream.${this.prefix}${before}`];
    if (this.layer) return this.values[`stream.${this.layers[this.layer - 1]}${this.branches.at(-1)}`];
    return this.values["stream.expected"] ?? this.values["stream.embedding"];
  }

  /** What is said of a part of the run, if it has that part. */
  note(name) {
    return this.parts.get(name)?.note ?? "";
  }

  #strongest() {
    return ranking(this.of("attention.weights", this.head))[0];
  }
}

/** The branches of a block, in their order. */
export function branchesOf(/** @type {Run} */ run) {
  return [...new Set(run.flow.map(({ branch }) => branch).filter(Boolean))];
}

/** The strip of a tensor. */
export function named(/** @type {Pass} */ pass, path, options = {}) {
  return strip(options.name ?? path.split(".").at(-1), pass.values[path], { path, ...options });
}

const byNumber = (a, b) => Number(a.replace(/\D/g, "")) - Number(b.replace(/\D/g, ""));
