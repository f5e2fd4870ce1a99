/**
 * Experiments: the same training with one difference, after a guess.
 *
 * A training of one; what is not given is as the page offers it. `variant` is one of gpt/playground/variants.py.
 * @typedef {Partial<Chosen> & {label: string, stage: string, variant?: string}} Arm
 * @typedef {{label: string, val: number | null, curve: Estimate[]}} Result `val` is null if the loss became NaN.
 *
 * Of the guesses, the first one whose test the results pass is right. It is offered on the pages of these stages.
 * @typedef {{
 *   title: string, pages: string[], question: string, text: keyof typeof TEXTS, iterations: number, arms: Arm[],
 *   guesses: [label: string, test: (results: Result[]) => boolean][], why: string,
 * }} Experiment
 *
 * @import { Estimate } from "../engines/server.js"
 * @import { Chosen } from "./order.js"
 * @import { TEXTS } from "./texts.js"
 */

const SAME = 0.02; // nats: a difference as small as between two seeds

const difference = ([first, second]) => (second.val ?? Infinity) - (first.val ?? Infinity);

/** @type {Experiment["guesses"]} */
const COMPARED = [
  ["lower", (results) => difference(results) < -SAME],
  ["the same within 0.02", (results) => Math.abs(difference(results)) <= SAME],
  ["higher", () => true],
];

/** @type {Experiment[]} */
export const EXPERIMENTS = [
  {
    title: "A text of abcabcabc…",
    pages: ["v1"],
    question: "v1 predicts from one character alone. How low does its loss get on a text of abcabcabc…?",
    text: "abc",
    iterations: 3000,
    arms: [{ label: "v1 on abcabc…", stage: "v1", learningRate: 0.01 }],
    guesses: [
      ["about 1.1, as for three characters drawn at random", ([{ val }]) => val > 0.9],
      ["about 0.5", ([{ val }]) => val > 0.1],
      ["nearly 0", () => true],
    ],
    why: "After each of the three characters, only one ever follows: one character of context is all that there is to know.",
  },
  {
    title: "A hundred times the learning rate",
    pages: ["v1", "v6", "gru", "v8"],
    question:
      "The same stage at a learning rate of 0.1 instead of 0.001. Is the loss after 500 iterations lower or higher?",
    text: "shakespeare",
    iterations: 500,
    arms: [
      { label: "0.001", stage: "", learningRate: 0.001 },
      { label: "0.1", stage: "", learningRate: 0.1 },
    ],
    guesses: COMPARED,
    why: "A larger step gets further, until it is so large that it jumps over what it should find. Try the rates between.",
  },
  {
    title: "Without the division by √D",
    pages: ["v2"],
    question:
      "v2 divides its scores by √D before the softmax. Without it, is the loss after 1,000 iterations lower or higher?",
    text: "shakespeare",
    iterations: 1000,
    arms: [
      { label: "v2", stage: "v2" },
      { label: "v2 without /√D", stage: "v2", variant: "without_scaling" },
    ],
    guesses: COMPARED,
    why: "The scores are four times as large without it, and softmax more extreme from the beginning.",
  },
  {
    title: "One head or four",
    pages: ["v3"],
    question: "v2 has one head of 32 numbers, v3 four heads of 8. Is v3’s loss after 1,000 iterations lower or higher?",
    text: "shakespeare",
    iterations: 1000,
    arms: [
      { label: "v2", stage: "v2" },
      { label: "v3", stage: "v3" },
    ],
    guesses: COMPARED,
    why: "",
  },
  {
    title: "With and without a feed-forward layer",
    pages: ["v3_ffn"],
    question: "v3_ffn is v3 with a feed-forward layer. Is its loss after 1,000 iterations lower or higher?",
    text: "shakespeare",
    iterations: 1000,
    arms: [
      { label: "v3", stage: "v3" },
      { label: "v3_ffn", stage: "v3_ffn" },
    ],
    guesses: COMPARED,
    why: "",
  },
  {
    title: "One block, three, six",
    pages: ["v4"],
    question: "v4 has three blocks. After 500 iterations, what have more blocks done to its loss?",
    text: "shakespeare",
    iterations: 500,
    arms: [
      { label: "1 block", stage: "v4", variant: "1_block" },
      { label: "3 blocks", stage: "v4" },
      { label: "6 blocks", stage: "v4", variant: "6_blocks" },
    ],
    guesses: [
      ["lowered it", ([one, three, six]) => three.val < one.val && six.val < three.val],
      ["raised it", ([one, three, six]) => three.val > one.val && six.val > three.val],
      ["neither", () => true],
    ],
    why: "Each block hands on only what it has computed itself. The next experiment is what repairs it.",
  },
  {
    title: "Six blocks, and one plus sign",
    pages: ["v4", "v5"],
    question:
      "v5 with 6 blocks, and the same without the plus signs of its residual connections. After 300 iterations, is the " +
      "loss without them lower or higher?",
    text: "shakespeare",
    iterations: 300,
    arms: [
      { label: "6 blocks of v5", stage: "v5", variant: "6_blocks" },
      { label: "without x +", stage: "v5", variant: "6_blocks_without_residuals" },
    ],
    guesses: COMPARED,
    why: "A picture on the page of v5 shows how little of the gradient reaches the first blocks of such a stack.",
  },
  {
    title: "The same seed twice, then another",
    pages: ["v1", "v2", "v3", "v3_ffn", "v4", "v5", "v6"],
    question:
      "The same stage three times: with the same seed twice, then with another. How far apart are the two seeds?",
    text: "shakespeare",
    iterations: 500,
    arms: [
      { label: "seed 1", stage: "", seed: 1 },
      { label: "seed 1 again", stage: "", seed: 1 },
      { label: "seed 2", stage: "", seed: 2 },
    ],
    guesses: [
      ["not at all", ([first, , other]) => first.val === other.val],
      ["less than 0.05", ([first, , other]) => Math.abs(first.val - other.val) < 0.05],
      ["more than 0.05", () => true],
    ],
    why: "The same seed gives the same numbers, to the last digit. What differs between two seeds is the noise in which a small improvement disappears.",
  },
];
