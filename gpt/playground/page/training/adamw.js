/** AdamW with the constants of conf/optimizer/adamw.yaml, as in gpt/training/optimizers.py. */
/** @import { Tensors } from "../engines/server.js" */

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;
const WEIGHT_DECAY = 0.01; // of matrices and embeddings

export class AdamW {
  /** @param {Tensors} weights They are changed in place. */
  constructor(weights) {
    this.steps = 0;
    this.parameters = Object.entries(weights).map(([name, { shape, data }]) => ({
      name,
      data,
      decay: shape.length > 1 ? WEIGHT_DECAY : 0,
      mean: new Float32Array(data.length),
      square: new Float32Array(data.length),
    }));
  }

  /** One update, by the gradient of each weight. */
  step(gradient, rate) {
    this.steps += 1;
    const step = rate / (1 - BETA1 ** this.steps);
    const correction = Math.sqrt(1 - BETA2 ** this.steps);
    for (const { name, data, decay, mean, square } of this.parameters) {
      const g = gradient(name);
      const kept = 1 - rate * decay;
      for (let i = 0; i < data.length; i++) {
        mean[i] += (1 - BETA1) * (g[i] - mean[i]);
        square[i] += (1 - BETA2) * (g[i] * g[i] - square[i]);
        data[i] = kept * data[i] - (step * mean[i]) / (Math.sqrt(square[i]) / correction + EPSILON);
      }
    }
  }
}
