/**
 * Training a stage on a text, as gpt/training/loop.py does: its loss and gradients are graphs, recorded from its code.
 *
 * @import { Tensors } from "../engines/server.js"
 *
 * A function that runs a graph with these weights and its inputs: `batch` windows, of as many tokens as all others.
 * @typedef {(weights: Tensors, batch: number, idx: BigInt64Array, targets: BigInt64Array) =>
 *   Promise<Record<string, {data: Float32Array}>>} Graph
 *
 * @typedef {{
 *   learningRate: number, batchSize: number, evalIters: number, seed: number, blockSize: number, answersOnly: boolean,
 * }} Settings The batches in an estimate of each split's loss; whether the targets are only the last characters of lines, each
 *   a window with its end.
 */
import { random } from "../engines/random.js";
import { AdamW } from "./adamw.js";

const TARGETS_PER_PASS = 8192; // of an estimate
const IGNORED = -100n; // no target, as in gpt/data/batch.py

export class Training {
  /**
   * @param {{step: Graph, loss: Graph}} graphs
   * @param {Tensors} weights They are changed in place.
   * @param {{train: Int32Array, val: Int32Array}} splits Token ids, of more than a window each.
   * @param {Settings} settings
   */
  constructor(graphs, weights, splits, settings) {
    Object.assign(this, { graphs, weights, splits, settings });
    this.optimizer = new AdamW(weights);
    this.uniform = random(settings.seed);
  }

  get iteration() {
    return this.optimizer.steps;
  }

  /** One update on a random batch, or on the windows that begin at these `starts`. Returns the batch's loss. */
  async iterate(starts = this.#starts(this.splits.train, this.settings.batchSize, this.uniform)) {
    const outputs = await this.#run(this.graphs.step, this.weights, this.splits.train, starts);
    const loss = outputs.loss.data[0];
    const { learningRate: rate } = this.settings;
    if (!Number.isFinite(loss))
      throw new Error(`the loss became NaN at iteration ${this.iteration}: lower the learning rate, ${rate}`);
    this.optimizer.step((name) => outputs[`gradient.${name}`].data, rate);
    return loss;
  }

  /**
   * Each split's loss with these weights over some random batches, always the same ones for a seed, as in the loop.
   * After each of its passes, it yields the share of them that is done.
   */
  async *estimate(/** @type {Tensors} */ weights) {
    const { seed, batchSize, evalIters, blockSize } = this.settings;
    const most = Math.max(1, Math.floor(TARGETS_PER_PASS / blockSize));
    const windows = evalIters * batchSize;
    const losses = [];
    for (const [ids, uniform] of [
      [this.splits.train, random(seed + 1)],
      [this.splits.val, random(seed + 2)],
    ]) {
      let sum = 0;
      for (let left = windows; left > 0; left -= most) {
        const batch = Math.min(most, left);
        const outputs = await this.#run(this.graphs.loss, weights, ids, this.#starts(ids, batch, uniform));
        sum += batch * outputs.loss.data[0];
        yield (losses.length + 1 - (left - batch) / windows) / 2;
      }
      losses.push(sum / windows);
    }
    return { train: losses[0], val: losses[1] };
  }

  #starts(ids, batch, uniform) {
    const { blockSize: T, answersOnly } = this.settings;
    const step = answersOnly ? T + 2 : 1;
    const places = Math.ceil((ids.length - T) / step);
    return Array.from({ length: batch }, () => step * Math.floor(uniform() * places));
  }

  #run(graph, weights, ids, starts) {
    const { blockSize: T, answersOnly } = this.settings;
    const [idx, targets] = [0, 1].map((ahead) => {
      const windows = new BigInt64Array(starts.length * T);
      for (const [b, start] of starts.entries()) {
        for (let t = 0; t < T; t++)
          windows[b * T + t] = ahead && answersOnly && t < T - 1 ? IGNORED : BigInt(ids[start + ahead + t]);
      }
      return windows;
    });
    return graph(weights, starts.length, idx, targets);
  }
}
