/** From logits to probabilities, choices, losses and ranks, as in gpt/tasks/decoding/sampling.py. */

/**
 * @import { Options, Tensor } from "./engines/server.js"
 *
 * Logits or probabilities of all tokens.
 * @typedef {Float32Array | Float64Array} Values
 *
 * The loss of a token in nats, and its rank among the predictions, from 1; the first token has none.
 * @typedef {{loss: number, rank: number} | null} Score
 */

/** @param {Values} x May be longer than the arguments that Math.max takes. */
function largestOf(x) {
  let largest = -Infinity;
  for (const value of x) largest = Math.max(largest, value);
  return largest;
}

/**
 * softmax(t x), with t = 1 / temperature; at temperature 0, the largest gets everything.
 * @param {Values} x
 */
export function softmax(x, temperature = 1) {
  const largest = largestOf(x);
  if (temperature < 1e-38) {
    const first = x.indexOf(largest);
    return Float64Array.from(x, (_, i) => (i === first ? 1 : 0));
  }
  const p = Float64Array.from(x, (value) => Math.exp((value - largest) / temperature));
  const total = p.reduce((a, b) => a + b, 0);
  return p.map((value) => value / total);
}

/**
 * The tokens by probability or logit, the likeliest first; ties in the order of the vocabulary.
 * @param {Values} x
 */
export function ranking(x) {
  return Array.from(x.keys()).sort((a, b) => x[b] - x[a] || a - b);
}

/**
 * How much of the probability is elsewhere in q than in p.
 * @param {Values} p
 * @param {Values} q
 */
export function totalVariation(p, q) {
  return Array.from(p, (value, i) => Math.abs(value - q[i])).reduce((a, b) => a + b, 0) / 2;
}

/**
 * The candidates to draw from: `topK` keeps the k likeliest, `topP` of these the fewest with the share p.
 * @param {Values} x
 * @param {Options} options
 */
export function shaped(x, { temperature, topK, topP }) {
  const p = softmax(x, temperature);
  const order = ranking(x).slice(0, topK ?? x.length);
  const total = order.reduce((sum, token) => sum + p[token], 0);
  const kept = new Float64Array(p.length);
  let before = 0;
  for (const [rank, token] of order.entries()) {
    if (topP !== null && rank > 0 && before >= topP * total) break;
    kept[token] = p[token];
    before += p[token];
  }
  return kept.map((value) => value / before);
}

/**
 * The token that a uniform number in [0, 1) chooses: inverse transform sampling, the likeliest first.
 * @param {Values} x
 * @param {Options} options
 */
export function choose(x, uniform, options) {
  const p = shaped(x, options);
  let cumulative = 0;
  let last = 0;
  for (const token of ranking(x)) {
    if (p[token] === 0) break;
    cumulative += p[token];
    last = token;
    if (cumulative > uniform) break;
  }
  return last;
}

/**
 * Score N tokens by the logits [N, V] after each.
 * @param {Tensor} logits
 * @returns {Score[]}
 */
export function scored({ shape: [, V], data }, ids) {
  return ids.map((id, i) => {
    if (i === 0) return null;
    const x = data.subarray((i - 1) * V, i * V);
    const largest = largestOf(x);
    const total = x.reduce((sum, value) => sum + Math.exp(value - largest), 0);
    const rank = x.reduce((count, value) => count + (value > x[id] ? 1 : 0), 1);
    return { loss: Math.log(total) + largest - x[id], rank };
  });
}

/**
 * The loss of some tokens in nats per character; `characters` is how many begin in each.
 * @param {Score[]} scores
 */
export function lossPerCharacter(scores, characters) {
  const predicted = characters.filter((_, i) => scores[i] !== null).reduce((a, b) => a + b, 0);
  const total = scores.reduce((sum, score) => sum + (score?.loss ?? 0), 0);
  return predicted ? total / predicted : null;
}

/**
 * The mean loss of some of them, in nats per token.
 * @param {Score[]} scores
 */
export function meanLoss(scores) {
  const losses = scores.filter((score) => score !== null).map((score) => score.loss);
  return losses.length ? losses.reduce((a, b) => a + b, 0) / losses.length : null;
}
