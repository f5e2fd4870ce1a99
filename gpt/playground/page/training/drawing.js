/** Weights from the distributions that PyTorch draws them from, as training.json describes them. */
/** @import { Tensors } from "../engines/server.js" */
import { random } from "../engines/random.js";

/**
 * A weight; null in its shape is the size of the vocabulary.
 * @typedef {{name: string, shape: (number | null)[], drawn: "normal" | "uniform" | "constant", scale: number}} Weight
 */

/** @type {(description: Weight[], vocabularySize: number, seed: number) => Tensors} */
export function drawn(description, vocabularySize, seed) {
  const uniform = random(seed);
  const draws = {
    normal: (scale) => scale * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()), // Box-Muller
    uniform: (scale) => scale * (2 * uniform() - 1),
    constant: (scale) => scale,
  };
  const made = description.map(({ name, shape: sizes, drawn: kind, scale }) => {
    const shape = sizes.map((size) => size ?? vocabularySize);
    const length = shape.reduce((product, size) => product * size, 1);
    return [name, { shape, data: Float32Array.from({ length }, () => draws[kind](scale)) }];
  });
  return Object.fromEntries(made);
}
