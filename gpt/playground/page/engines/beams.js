/**
 * Beam search for one sentence, as gpt/tasks/decoding/beam_search.py, without a cache.
 *
 * @import { Tensor } from "./server.js"
 * @typedef {{score: number, ids: number[], ended: boolean}} Candidate
 */

export const [PAD, BEGIN, END] = [0, 1, 2]; // as in gpt/data/pairs.py

/**
 * Up to `beam` targets of at most `limit` tokens, the best first. `predict` computes the logits after each of some
 * targets of one length, (targets, vocabulary).
 * @param {(targets: number[][]) => Promise<Tensor>} predict
 * @returns {Promise<Candidate[]>}
 */
export async function candidates(predict, { limit, beam, lengthPenalty }) {
  const penalty = (length) => ((5 + length) / 6) ** lengthPenalty;
  /** @type {Candidate[]} */
  const finished = [];
  let kept = [{ score: 0, ids: [] }];
  for (let step = 0; step < limit && finished.length < beam; step++) {
    const { shape, data } = await predict(kept.map(({ ids }) => [BEGIN, ...ids]));
    const continued = kept.flatMap(({ score, ids }, k) =>
      logSoftmax(data.subarray(k * shape[1], (k + 1) * shape[1])).map((p, token) => ({ score: score + p, ids, token })),
    );
    // 2 K of them: even if K of them end here, K are left.
    const top = continued.sort((a, b) => b.score - a.score).slice(0, 2 * beam);
    const ending = top.slice(0, beam).filter(({ token }) => token === END);
    for (const { score, ids } of ending.slice(0, beam - finished.length))
      finished.push({ score: score / penalty(ids.length + 1), ids, ended: true });
    const going = top.filter(({ token }) => token !== END).slice(0, beam);
    kept = going.map(({ score, ids, token }) => ({ score, ids: [...ids, token] }));
  }
  if (!finished.length) finished.push({ score: kept[0].score / penalty(limit), ids: kept[0].ids, ended: false });
  return finished.sort((a, b) => b.score - a.score);
}

/** The log probabilities of logits, after which neither padding nor a beginning can come. */
function logSoftmax(logits) {
  const possible = Array.from(logits, (x, token) => (token === PAD || token === BEGIN ? -Infinity : x));
  const largest = Math.max(...possible);
  const sum = possible.reduce((total, x) => total + Math.exp(x - largest), 0);
  return possible.map((x) => x - largest - Math.log(sum));
}
