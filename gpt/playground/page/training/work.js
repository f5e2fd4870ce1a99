/**
 * A training that runs by itself in the worker: it estimates, keeps moments, and tells how far it is.
 *
 * What is trained on what: `start` is a file of initial weights, or null to draw them as `description` says; `writes`
 * is the graph that texts are written with, or null if there is none.
 * @typedef {{
 *   graphs: string, writes: string | null, start: {file: string} | null, description: Weight[], vocabulary: string[],
 *   splits: {train: Int32Array, val: Int32Array}, settings: Settings, iterations: number, interval: number,
 * }} Order
 *
 * How far it is; `ended` says why it does not go on, and `estimate` and `text` are there when they have just been made.
 * @typedef {{
 *   iteration: number, loss: number | null, perSecond: number | null, moments: number[], estimate?: Estimate,
 *   text?: Written, ended?: "finished" | "paused" | "failed", failure?: string,
 * }} Progress
 *
 * @import { Tensors, Estimate, Written } from "../engines/server.js"
 * @import { Weight } from "./drawing.js"
 * @import { Graph, Settings } from "./training.js"
 * @typedef {(weights: Tensors, windows: number[][]) => Promise<Float32Array[]>} Logits Those after each window.
 */
import { random } from "../engines/random.js";
import { continued } from "../predictions.js";
import { drawn } from "./drawing.js";
import { Training } from "./training.js";
import { isMoment, judge, LETTERS, PASSAGES } from "./written.js";

const TURN = 12; // milliseconds before other messages have their turn
const TELLING = 200; // milliseconds between two messages
const LATELY = 5000; // milliseconds over which the speed is measured
const MEASURED = 10; // iterations, at least, for a speed
const LARGEST_KEPT = 200e6; // bytes of all moments
const CORPUS = 500_000; // characters with which the texts are compared
const FRESH = 700; // milliseconds after which there is another text, of fewer letters
const SHARE = 0.04; // of the time, for those texts
const FEWEST = 25; // letters
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
    if (graphs.logits && !order.settings.answersOnly)
      this.judge = judge(Array.from(order.splits.train.subarray(0, CORPUS), (id) => order.vocabulary[id]).join(""));
    this.letter = 1; // milliseconds that one takes
    this.wrote = 0; // when
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
      this.clock = new Clock();
      while (this.isGoing && this.training.iteration < iterations) {
        await this.#next();
        if (this.clock.isTold(this.training.iteration)) this.#tell({});
        await this.clock.turn();
      }
      if (this.training.iteration < iterations) return "paused";
      await this.#estimated();
      this.isGoing = false;
      return "finished";
    });
  }

  /** One iteration, after the text, the estimate or the copy of the weights that is due. */
  async #next() {
    const { iteration } = this.training;
    const isEstimated = iteration % this.order.interval === 0;
    const age = performance.now() - this.wrote;
    if (isMoment(iteration)) await this.#write(PASSAGES, LETTERS);
    else if (age > (isEstimated ? FRESH / 2 : FRESH))
      await this.#write(1, Math.min(LETTERS, Math.max(FEWEST, (SHARE * age) / this.letter)));
    if (isEstimated) await this.#estimated();
    else if (isMoment(iteration)) this.#keep();
    await this.#iterate();
  }

  /** Write passages with the weights as they are: the same ones for the same weights and seed. */
  async #write(passages, letters) {
    const { iteration, weights, settings } = this.training;
    if (!this.logits || this.written === iteration) return;
    this.written = iteration;
    const { vocabulary } = this.order;
    const answers = await this.#answers(LINES);
    if (answers.length) {
      const lines = answers.map(({ question, answer, isRight }) => {
        const asked = question.map((id) => vocabulary[id]).join("");
        return `${asked} → ${vocabulary[answer].replace("\n", "↵")}${isRight ? "" : ", wrong"}`;
      });
      this.wrote = performance.now();
      return this.#tell({ text: { iteration, text: lines.join("\n") } });
    }
    const ids = [Math.max(0, vocabulary.indexOf("\n"))];
    const rows = Array.from({ length: passages }, (_, row) => ({ ids, uniform: random(settings.seed + 3 + row) }));
    const texts = rows.map(() => "");
    const predict = (windows) => this.logits(weights, windows);
    const began = performance.now();
    let length = 0;
    for await (const next of continued(predict, rows, settings.blockSize, {})) {
      for (const [row, id] of next.entries()) texts[row] += vocabulary[id];
      length += 1;
      if (length >= letters) break;
      if (this.clock.isTold(iteration)) this.#tell({ text: { iteration, text: texts[0] } }); // so far
      await this.clock.turn();
    }
    this.wrote = performance.now();
    this.letter = (this.wrote - began) / length;
    const traits = passages > 1 ? this.judge(texts) : undefined;
    this.#tell({ text: { iteration, text: texts[0], traits } });
  }

  async #guarded(work) {
    try {
      const ended = await work();
      await this.#write(PASSAGES, LETTERS);
      this.#tell(this.isGoing ? {} : { ended }); // unless it goes on meanwhile
    } catch (error) {
      this.isGoing = false;
      this.#tell({ ended: "failed", failure: error.message });
    }
  }

  async #iterate() {
    const loss = await this.training.iterate();
    this.loss = this.loss === null ? loss : 0.98 * this.loss + 0.02 * loss;
  }

  async #estimated() {
    if (this.estimated === this.training.iteration) return; // a step or a pause has made it
    this.#keep();
    this.estimated = this.training.iteration;
    const estimate = await this.training.estimate();
    const answers = await this.#answers();
    if (answers.length) estimate.accuracy = answers.filter(({ isRight }) => isRight).length / answers.length;
    this.#tell({ estimate });
  }

  /** What held-out lines ask, and the likeliest answers; none of a text. */
  async #answers(most = ASKED) {
    const { weights, splits, settings } = this.training;
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

  #keep() {
    const all = Object.entries(this.training.weights);
    const bytes = all.reduce((sum, [, { data }]) => sum + data.byteLength, 0);
    if ((this.moments.size + 1) * bytes > LARGEST_KEPT) return;
    const copy = all.map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]);
    this.moments.set(this.training.iteration, Object.fromEntries(copy));
  }

  #tell(more) {
    const moments = [...this.moments.keys()].sort((a, b) => a - b);
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
    this.turned = this.told = performance.now();
    /** @type {{now: number, iteration: number}[]} */
    this.marks = [];
  }

  /** Let others have their turn, now and then. */
  async turn() {
    if (performance.now() - this.turned < TURN) return;
    await turn();
    this.turned = performance.now();
  }

  isTold(iteration) {
    const now = performance.now();
    if (now - this.told < TELLING) return false;
    this.told = now;
    if (iteration === 0) return true; // its estimate and its text say nothing about the speed
    this.marks = [...this.marks.filter((mark) => now - mark.now < LATELY), { now, iteration }];
    return true;
  }

  /** Iterations a second, lately; null until a second has passed, and a few iterations. */
  get perSecond() {
    const [first, last] = [this.marks[0], this.marks.at(-1)];
    const seconds = first ? (last.now - first.now) / 1000 : 0;
    const iterations = seconds && last.iteration - first.iteration;
    return seconds < 1 || iterations < MEASURED ? null : iterations / seconds;
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
