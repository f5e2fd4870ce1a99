/** The windows in which a run reads a text, as in gpt/playground/inspect.py. */
/** @import { Run } from "./engines/server.js" */

/** The starts of the windows in which a run reads a text of N tokens. */
export function windowStarts(N, /** @type {Run} */ { block_size: T, stride }) {
  const starts = [];
  for (let start = 0; start < N - T; start += stride) starts.push(start);
  return [...starts, Math.max(0, N - T)];
}

/** The first of the tokens from which the token at `position` is predicted, in a text of N tokens. */
export function seenFrom(position, N, /** @type {Run} */ run) {
  return windowStarts(N, run).find((start) => start + run.block_size >= position);
}
