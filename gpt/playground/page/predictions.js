/** From logits to probabilities, choices, losses and ranks, as in gpt/tasks/decoding/sampling.py. */

/**
 * @import { Sampling, Tensor } from "./engines/server.js"
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

/** softmax(t x), with t = 1 / temperature; at temperature 0, the largest gets everything. */
export function softmax(/** @type {Values} */ x, temperature = 1) {
  const largest = largestOf(x);
  if (temperature < 1e-38) {
    const first = x.indexOf(largest);
    return Float64Array.from(x, (_, i) => (i === first ? 1 : 0));
  }
  const p = Float64Array.from(x, (value) => Math.exp((value - largest) / temperature));
  const total = p.reduce((a, b) => a + b, 0);
  return p.map((value) => value / total);
}

/** The tokens by probability or logit, the likeliest first; ties in the order of the vocabulary. */
export function ranking(/** @type {Values} */ x) {
  return Array.from(x.keys()).sort((a, b) => x[b] - x[a] || a - b);
}

/** How much of the probability is elsewhere in q than in p. */
export function totalVariation(/** @type {Values} */ p, /** @type {Values} */ q) {
  return Array.from(p, (value, i) => Math.abs(value - q[i])).reduce((a, b) => a + b, 0) / 2;
}

/**
 * Logits in which the tokens of a text are less likely: divided by the penalty, or multiplied where they are negative.
 * @param {Values} x
 * @param {number[]} ids
 * @param {number | null} [penalty]
 */
export function penalised(x, ids, penalty) {
  if (!penalty) return x;
  const less = Float64Array.from(x);
  for (const id of new Set(ids)) less[id] = x[id] > 0 ? x[id] / penalty : x[id] * penalty;
  return less;
}

/**
 * Which tokens each option leaves, in this order: a function of the probabilities, with 0 for what the options before
 * leave out, the option's value and the ranking of the tokens, to a mask.
 * @type {Record<string, (p: Float64Array, value: number, order: number[]) => boolean[]>}
 */
export const SURVIVORS = {
  top_k: (p, k, order) => mask(p, order.slice(0, k)),
  top_p: fewest,
  min_p: (p, share) => atLeast(p, share * largestOf(p)),
  typical_p: (p, share, order) => {
    const total = sum(p);
    const surprise = p.map((value) => -Math.log(value / total));
    const entropy = sum(p.map((value, i) => (value ? (value / total) * surprise[i] : 0)));
    const distance = surprise.map((value) => Math.abs(value - entropy));
    return fewest(
      p,
      share,
      [...order].sort((a, b) => distance[a] - distance[b]),
    );
  },
};

/** The first tokens of an order that have this share of the probability. */
function fewest(p, share, order) {
  const total = sum(p);
  let before = 0;
  const end = order.findIndex((token, rank) => {
    const isEnd = rank > 0 && before >= share * total;
    before += p[token];
    return isEnd;
  });
  return mask(p, end < 0 ? order : order.slice(0, end));
}

const atLeast = (p, least) => Array.from(p, (value) => value >= least);

function mask(p, tokens) {
  const kept = new Set(tokens);
  return Array.from(p, (_, token) => kept.has(token));
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** The probabilities to draw from, with 0 for tokens that the options leave out. */
export function shaped(/** @type {Values} */ x, /** @type {Sampling} */ sampling, order = ranking(x)) {
  let p = softmax(x, sampling.temperature ?? 1);
  for (const [option, survivors] of Object.entries(SURVIVORS)) {
    if (sampling[option] === null || sampling[option] === undefined) continue;
    const kept = survivors(p, sampling[option], order);
    p = p.map((value, token) => (kept[token] ? value : 0));
  }
  const total = sum(p);
  return p.map((value) => value / total);
}

/** The token that a uniform number in [0, 1) chooses after a text: inverse transform sampling, the likeliest first. */
export function choose(/** @type {Values} */ x, uniform, /** @type {Sampling} */ sampling, ids) {
  const logits = penalised(x, ids, sampling.repetition_penalty);
  const order = ranking(logits);
  const p = shaped(logits, sampling, order);
  let cumulative = 0;
  let last = 0;
  for (const token of order) {
    if (p[token] === 0) continue;
    cumulative += p[token];
    last = token;
    if (cumulative > uniform) break;
  }
  return last;
}

/**
 * The tokens that follow some texts of one length, one of each at a time, without an end.
 * @param {(windows: number[][]) => Promise<Values[]>} predict The logits after windows of at most `T` tokens.
 * @param {{ids: number[], uniform: () => number}[]} texts Each with its own random numbers.
 * @param {Sampling} sampling
 */
export async function* continued(predict, texts, T, sampling) {
  const all = texts.map(({ ids }) => ids.slice(-T)); // no stage reads more of them
  for (;;) {
    const logits = await predict(all.map((ids) => ids.slice(-T)));
    const next = logits.map((x, i) => choose(x, texts[i].uniform(), sampling, all[i]));
    for (const [i, id] of next.entries()) all[i].push(id);
    yield next;
  }
}

/** The pieces of a text up to the string that ends it; a piece waits as long as that string may begin in it. */
export async function* until(stop, pieces) {
  if (!stop) return yield* pieces;
  let waiting = "";
  for await (const piece of pieces) {
    waiting += piece;
    const end = waiting.indexOf(stop);
    if (end >= 0) return yield waiting.slice(0, end);
    let kept = Math.min(stop.length - 1, waiting.length);
    while (!waiting.endsWith(stop.slice(0, kept))) kept -= 1;
    yield waiting.slice(0, waiting.length - kept);
    waiting = waiting.slice(waiting.length - kept);
  }
  yield waiting;
}

/** @type {(logits: Tensor, ids: number[]) => Score[]} Score N tokens by the logits [N, V] after each. */
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

/** The loss of some tokens in nats per character; `characters` is how many begin in each. */
export function lossPerCharacter(/** @type {Score[]} */ scores, characters) {
  const predicted = characters.filter((_, i) => scores[i] !== null).reduce((a, b) => a + b, 0);
  const total = scores.reduce((sum, score) => sum + (score?.loss ?? 0), 0);
  return predicted ? total / predicted : null;
}

/** The mean loss of some of them, in nats per token. */
export function meanLoss(/** @type {Score[]} */ scores) {
  const losses = scores.filter((score) => score !== null).map((score) => score.loss);
  return losses.length ? losses.reduce((a, b) => a + b, 0) / losses.length : null;
}
