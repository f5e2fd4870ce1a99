/**
 * A training that runs by itself in the worker: it estimates, keeps moments, and tells how far it is.
 *
 * What is trained on what: `start` is a file of initial weights, or null to draw them as `description` says.
 * @typedef {{
 *   start: {file: string} | null, description: Weight[], vocabulary: string[],
 *   splits: {train: Int32Array, val: Int32Array}, settings: Settings, iterations: number, interval: number,
 * }} Order
 *
 * How far it is; `ended` says why it does not go on, `estimate` and `text` are there when they have just been made, and
 * `measured` is the share of an estimate that is done while the training waits for it.
 * @typedef {{
 *   iteration: number, loss: number | null, perSecond: number | null, moments: number[], estimate?: Estimate,
 *   text?: Written, measured?: number, ended?: "finished" | "paused" | "failed", failure?: string,
 * }} Progress
 *
 * @import { Tensors, Estimate, Written } from "../engines/server.js"
 * @import { Weight } from "./drawing.js"
 * @import { Graph, Settings } from "./training.js"
 * @typedef {(weights: Tensors, windows: number[][]) => Promise<Float32Array[]>} Logits Those after each window.
 */
import { random } from "../engines/random.js";
import { copied } from "../engines/tensors.js";
import { continued } from "../predictions.js";
import { drawn } from "./drawing.js";
import { Training } from "./training.js";
import { isMoment, LETTERS } from "./written.js";

const TURN = 12; // milliseconds before other messages have their turn
const TELLING = 300; // milliseconds between two messages, each of which the page draws
const MEASURED = 10; // iterations, at least, for a speed
const LARGEST_KEPT = 200e6; // bytes of all moments
const SHARE = 0.05; // of the time, at most, for texts between the moments that are kept
const ASKED = 500; // held-out lines, to see how many are answered right
const LINES = 6; // of them that are shown

export class Work {
  /**
   * `tell` is called with each Progress.
   * @param {{step: Graph, loss: Graph, logits: Logits | null}} graphs
   * @param {Order} order
   * @param {Tensors | null} start
   */
  constructor(graphs, order, start, tell) {
    const weights = start ?? drawn(order.description, order.vocabulary.length, order.settings.seed);
    this.training = new Training(graphs, weights, order.splits, order.settings);
    Object.assign(this, { logits: graphs.logits, order, tell });
    this.clock = new Clock();
    this.wrote = 0; // when
    this.cost = 0; // milliseconds that a text takes
    /** @type {Map<number, Tensors>} */
    this.moments = new Map();
    /** @type {AsyncGenerator<number, void> | null} */
    this.passes = null; // of the estimate that is being made
    this.rested = 0; // when the next of them is due
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
  step() {
    this.isGoing = false;
    this.going = this.going.then(() =>
      this.#guarded(async () => {
        await this.#estimated();
        await this.#iterate();
        await this.#estimated();
        return "paused";
      }),
    );
    return this.going;
  }

  /** @returns {Tensors} The weights at one of the moments that were kept, or those of now. */
  weights(moment) {
    return moment === null ? this.training.weights : this.moments.get(moment);
  }

  #go() {
    return this.#guarded(async () => {
      const { iterations } = this.order;
      this.clock = new Clock();
      while (this.isGoing && this.training.iteration < iterations) {
        await this.#next();
        if (this.clock.isDue()) this.#tell({});
        await this.#measure();
        await this.clock.turn();
      }
      if (this.training.iteration < iterations) return "paused";
      await this.#write();
      await this.#estimated();
      this.isGoing = false;
      return "finished";
    });
  }

  /** One iteration, after the text that is due, and after the estimate's beginning or the copy of the weights. */
  async #next() {
    const { iteration } = this.training;
    const isEstimated = iteration % this.order.interval === 0;
    const isRested = performance.now() - this.wrote > this.cost / SHARE;
    if (isMoment(iteration) || (isRested && this.clock.isDue())) await this.#write();
    if (isEstimated) await this.#begin();
    else if (isMoment(iteration)) this.#keep();
    await this.#iterate();
  }

  /** Write a text with the weights as they are: the same one for the same weights and seed. */
  async #write() {
    const { iteration } = this.training;
    if (!this.logits || this.written === iteration) return;
    this.written = iteration;
    const began = performance.now();
    const text = this.training.settings.answersOnly ? await this.#answered() : await this.#continued();
    this.wrote = performance.now();
    this.cost = this.wrote - began;
    this.#tell({ text: { iteration, text } });
  }

  /** A few held-out lines with the likeliest answers. */
  async #answered() {
    const { vocabulary } = this.order;
    const lines = (await this.#answers(this.training.weights, LINES)).map(({ question, answer, isRight }) => {
      const asked = question.map((id) => vocabulary[id]).join("");
      return `${asked} → ${vocabulary[answer].replace("\n", "↵")}${isRight ? "" : ", wrong"}`;
    });
    return lines.join("\n");
  }

  /** What follows a line break. */
  async #continued() {
    const { vocabulary } = this.order;
    const { weights, settings } = this.training;
    const start = { ids: [Math.max(0, vocabulary.indexOf("\n"))], uniform: random(settings.seed + 3) };
    const predict = (windows) => this.logits(weights, windows);
    let text = "";
    let length = 0;
    for await (const [id] of continued(predict, [start], settings.blockSize, {})) {
      text += vocabulary[id];
      length += 1;
      if (length === LETTERS) return text;
      await this.clock.turn();
    }
  }

  async #guarded(work) {
    try {
      const ended = await work();
      await this.#write();
      this.#tell(this.isGoing ? {} : { ended }); // unless it goes on meanwhile
    } catch (error) {
      this.isGoing = false;
      this.passes = null;
      this.#tell({ ended: "failed", failure: error.message });
    }
  }

  async #iterate() {
    const loss = await this.training.iterate();
    this.loss = this.loss === null ? loss : 0.98 * this.loss + 0.02 * loss;
  }

  /** Begin an estimate with the weights as they are, after the end of the one before. */
  async #begin() {
    const { iteration } = this.training;
    if (this.estimated === iteration) return; // a step has made it
    await this.#end();
    this.estimated = iteration;
    this.passes = this.#estimate(iteration, this.#keep());
  }

  async *#estimate(iteration, weights) {
    /** @type {Estimate} */
    const estimate = { iteration, ...(yield* this.training.estimate(weights)) };
    const answers = await this.#answers(weights);
    if (answers.length) estimate.accuracy = answers.filter(({ isRight }) => isRight).length / answers.length;
    this.passes = null;
    this.#tell({ estimate });
  }

  /** One pass of the estimate, if as much time has gone by without one as the last one took. */
  async #measure() {
    const began = performance.now();
    if (!this.passes || began < this.rested) return;
    await this.passes.next();
    this.rested = 2 * performance.now() - began;
  }

  /** Make the rest of the estimate. */
  async #end() {
    while (this.passes) {
      const { value: measured } = await this.passes.next();
      if (measured && this.clock.isDue()) this.#tell({ measured });
      await this.clock.turn();
    }
  }

  async #estimated() {
    await this.#begin();
    await this.#end();
  }

  /** What held-out lines ask, and the likeliest answers; none of a text. */
  async #answers(weights, most = ASKED) {
    const { splits, settings } = this.training;
    if (!this.logits || !settings.answersOnly) return [];
    const T = settings.blockSize;
    const starts = Array.from({ length: Math.min(most, splits.val.length / (T + 2)) }, (_, row) => row * (T + 2));
    const questions = starts.map((start) => Array.from(splits.val.subarray(start, start + T)));
    const logits = await this.logits(weights, questions);
    return questions.map((question, row) => {
      const answer = logits[row].indexOf(Math.max(...logits[row]));
      return { question, answer, isRight: answer === splits.val[starts[row] + T] };
    });
  }

  /** A copy of the weights, which is kept as a moment if there is room. */
  #keep() {
    const copy = copied(this.training.weights);
    const bytes = Object.values(copy).reduce((sum, { data }) => sum + data.byteLength, 0);
    if ((this.moments.size + 1) * bytes <= LARGEST_KEPT) this.moments.set(this.training.iteration, copy);
    return copy;
  }

  #tell(more) {
    const moments = [...this.moments.keys()].sort((a, b) => a - b);
    this.clock.tell(this.training.iteration);
    this.tell({
      iteration: this.training.iteration,
      loss: this.loss,
      perSecond: this.clock.perSecond,
      moments,
      ...more,
    });
  }
}

/** When to let others have their turn, when to tell how far a training is, and how fast it is. */
class Clock {
  constructor() {
    this.turned = performance.now();
    this.told = -Infinity; // when
    /** @type {{now: number, iteration: number} | null} */
    this.first = null;
    this.perSecond = null; // until a second has passed, and a few iterations
  }

  /** Let others have their turn, now and then. */
  async turn() {
    if (performance.now() - this.turned < TURN) return;
    await turn();
    this.turned = performance.now();
  }

  isDue() {
    return performance.now() - this.told > TELLING;
  }

  tell(iteration) {
    const now = performance.now();
    this.told = now;
    this.first ??= { now, iteration };
    const [seconds, iterations] = [(now - this.first.now) / 1000, iteration - this.first.iteration];
    if (seconds >= 1 && iterations >= MEASURED) this.perSecond = iterations / seconds;
  }
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
