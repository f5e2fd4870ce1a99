/**
 * Experiments: the same training with one difference, after a guess.
 *
 * Of the guesses, the first one whose test the results pass is right. It is offered on the pages of these stages.
 * @typedef {Racing & {
 *   title: string, pages: string[], question: string, guesses: [label: string, test: (results: Result[]) => boolean][],
 *   why: string,
 * }} Experiment
 *
 * @import { Racing, Result } from "./race.js"
 */

const SAME = 0.02; // nats: a difference as small as between two seeds

const difference = ([first, second]) => second.val - first.val;

/** @type {Experiment["guesses"]} */
const COMPARED = [
  ["lower", (results) => difference(results) < -SAME],
  ["the same within 0.02", (results) => Math.abs(difference(results)) <= SAME],
  ["higher", () => true],
];

/** @type {(experiment: Omit<Experiment, "guesses">) => Experiment} One that asks which of its arms ends lowest. */
const lowest = (experiment) => ({
  ...experiment,
  guesses: experiment.arms.map(({ label }, i) => [
    label,
    (results) => results.every(({ val }) => val >= results[i].val),
  ]),
});

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
    iterations: 1000,
    arms: [
      { label: "v2", stage: "v2" },
      { label: "v2 without /√D", stage: "v2", variant: "without_scaling" },
    ],
    guesses: COMPARED,
    why: "The scores are four times as large without it, and softmax more extreme from the beginning.",
  },
  lowest({
    title: "One head, four heads, or a plus sign",
    pages: ["v2", "v3", "v5"],
    question:
      "v2 has one head of 16 numbers, v3 four of 8. One head can also have 32, and a direct path: what it reads is added " +
      "to its input, as in v5. Which of these ends lowest after 1,000 iterations?",
    iterations: 1000,
    arms: [
      { label: "one head of 16", stage: "v2" },
      { label: "one of 32", stage: "v3", variant: "one_head" },
      { label: "four of 8", stage: "v3" },
      { label: "one of 32 and a direct path", stage: "v3", variant: "one_head_with_direct_path" },
    ],
    why:
      "After 5,000 iterations, on average over three seeds, 16 more numbers have gained 0.01, four heads instead of one " +
      "of 32 have gained 0.13, and the direct path 0.09.",
  }),
  lowest({
    title: "Better first weights",
    pages: ["v4"],
    question:
      "v4 with three blocks or six: as it is, with first weights that keep the size of the numbers from layer to layer, " +
      "or, with six, with the plus signs that v5 adds. Which ends lowest after 1,000 iterations?",
    iterations: 1000,
    arms: [
      { label: "3 blocks", stage: "v4" },
      { label: "3 with better first weights", stage: "v4", variant: "scaled" },
      { label: "6 blocks", stage: "v4", variant: "6_blocks" },
      { label: "6 with better first weights", stage: "v4", variant: "6_blocks_scaled" },
      { label: "6 with plus signs", stage: "v4", variant: "6_blocks_with_residuals" },
    ],
    why:
      "After 5,000 iterations, on average over three seeds, better first weights lower 3 blocks from 2.31 to 2.22 and 6 " +
      "from 2.59 to 2.33; 6 with plus signs have 2.12.",
  }),
  {
    title: "Six blocks, with and without plus signs",
    pages: ["v5"],
    question:
      "v5 with 6 blocks, and the same without the plus signs of its residual connections. After 300 iterations, is the " +
      "loss without them lower or higher?",
    iterations: 300,
    arms: [
      { label: "6 blocks of v5", stage: "v5", variant: "6_blocks" },
      { label: "without x +", stage: "v5", variant: "6_blocks_without_residuals" },
    ],
    guesses: COMPARED,
    why: "The page of v5 shows how signal and gradient fade in v4, which has no plus signs either; that of v4 tests what this costs.",
  },
  {
    title: "The same seed twice, then another",
    pages: ["v1", "v2", "v3", "v3_ffn", "v4", "v5", "v6"],
    question:
      "The same stage three times: with the same seed twice, then with another. How far apart are the two seeds?",
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
