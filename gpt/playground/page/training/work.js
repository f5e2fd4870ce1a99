/**
 * A training that runs by itself in the worker: it estimates, keeps moments, and tells how far it is.
 *
 * What is trained on what: `start` is a file of initial weights, or null to draw them as `description` says.
 * @typedef {{
 *   graphs: string, start: {file: string} | null, description: Weight[], vocabularySize: number,
 *   splits: {train: Int32Array, val: Int32Array}, settings: Settings, iterations: number, interval: number,
 * }} Order
 *
 * How far it is; `ended` says why it does not go on, and `estimate` is there when one has just been made.
 * @typedef {{
 *   iteration: number, loss: number | null, perSecond: number | null, moments: number[], estimate?: Estimate,
 *   ended?: "finished" | "paused" | "failed", failure?: string,
 * }} Progress
 *
 * @import { Tensors, Estimate } from "../engines/server.js"
 * @import { Weight } from "./drawing.js"
 * @import { Graph, Settings } from "./training.js"
 */
import { drawn } from "./drawing.js";
import { Training } from "./training.js";

const TURN = 12; // milliseconds before other messages have their turn
const TELLING = 200; // milliseconds between two messages
const LARGEST_KEPT = 200e6; // bytes of all moments

export class Work {
  /**
   * `tell` is called with each Progress.
   * @param {{step: Graph, loss: Graph}} graphs
   * @param {Order} order
   * @param {Tensors | null} start
   */
  constructor(graphs, order, start, tell) {
    const weights = start ?? drawn(order.description, order.vocabularySize, order.settings.seed);
    this.training = new Training(graphs, weights, order.splits, order.settings);
    this.order = order;
    this.tell = tell;
    /** @type {Map<number, Tensors>} */
    this.moments = new Map();
    this.loss = null; // a moving average of the batches'
    this.isGoing = false;
    this.going = Promise.resolve();
    this.#keep();
  }

  /** Go on until the last iteration, or until somebody pauses. */
  go() {
    if (this.isGoing) return;
    this.isGoing = true;
    this.going = this.going.then(() => this.#go());
  }

  /** Stop after the current iteration. */
  async pause() {
    this.isGoing = false;
    await this.going;
  }

  /** One iteration, with an estimate after it. */
  async step() {
    await this.pause();
    await this.#guarded(async () => {
      await this.#estimated();
      await this.#iterate();
      await this.#estimated();
      return "paused";
    });
  }

  /**
   * The weights at one of the moments that were kept, or those of now.
   * @returns {Tensors}
   */
  weights(moment) {
    return moment === null ? this.training.weights : this.moments.get(moment);
  }

  #go() {
    return this.#guarded(async () => {
      const { iterations } = this.order;
      const clock = new Clock(this.training.iteration);
      while (this.isGoing && this.training.iteration < iterations) {
        await this.#next();
        if (clock.isTold()) this.#tell({ perSecond: clock.perSecond(this.training.iteration) });
        if (clock.isTurn()) await turn();
      }
      if (this.training.iteration < iterations) return "paused";
      await this.#estimated();
      return "finished";
    });
  }

  /** One iteration, after the estimate or the copy of the weights that is due. */
  async #next() {
    const { iteration } = this.training;
    if (iteration % this.order.interval === 0) await this.#estimated();
    else if (isEarly(iteration)) this.#keep();
    await this.#iterate();
  }

  async #guarded(work) {
    try {
      this.#tell({ ended: await work() });
    } catch (error) {
      this.#tell({ ended: "failed", failure: error.message });
    }
    this.isGoing = false;
  }

  async #iterate() {
    const loss = await this.training.iterate();
    this.loss = this.loss === null ? loss : 0.98 * this.loss + 0.02 * loss;
  }

  async #estimated() {
    if (this.estimated === this.training.iteration) return; // a step or a pause has made it
    this.#keep();
    this.estimated = this.training.iteration;
    this.#tell({ estimate: await this.training.estimate() });
  }

  #keep() {
    const all = Object.entries(this.training.weights);
    const bytes = all.reduce((sum, [, { data }]) => sum + data.byteLength, 0);
    if ((this.moments.size + 1) * bytes > LARGEST_KEPT) return;
    const copy = all.map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]);
    this.moments.set(this.training.iteration, Object.fromEntries(copy));
  }

  #tell(more) {
    const moments = [...this.moments.keys()].sort((a, b) => a - b);
    this.tell({ iteration: this.training.iteration, loss: this.loss, perSecond: null, moments, ...more });
  }
}

/** When to let others have their turn, when to tell how far a training is, and how fast it is. */
class Clock {
  constructor(iteration) {
    this.began = this.turned = this.told = performance.now();
    this.from = iteration;
  }

  isTurn() {
    return this.#isPast("turned", TURN);
  }

  isTold() {
    return this.#isPast("told", TELLING);
  }

  perSecond(iteration) {
    return ((iteration - this.from) * 1000) / (performance.now() - this.began);
  }

  #isPast(last, milliseconds) {
    const now = performance.now();
    if (now - this[last] < milliseconds) return false;
    this[last] = now;
    return true;
  }
}

/** Whether a moment before the first estimate is worth keeping: 1, 2, 5, 10, 20, 50, ... */
function isEarly(iteration) {
  const digits = 10 ** Math.floor(Math.log10(iteration));
  return [1, 2, 5].includes(iteration / digits);
}

const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()();

/** Let the worker answer messages that have come meanwhile; a timer would take milliseconds. */
function turn() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port2.postMessage(null);
  });
}
