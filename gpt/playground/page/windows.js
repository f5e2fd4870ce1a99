/** The windows in which a run reads a text, as in gpt/playground/looking.py. */

/** The starts of the windows of T tokens in which a text of N tokens is read: they advance by an eighth of T. */
export function windowStarts(N, T) {
  const starts = [];
  const stride = Math.max(1, Math.floor(T / 8));
  for (let start = 0; start < N - T; start += stride) starts.push(start);
  return [...starts, Math.max(0, N - T)];
}

/** The first of the tokens from which the token at `position` is predicted, in a text of N tokens. */
export function seenFrom(position, N, T) {
  return windowStarts(N, T).find((start) => start + T >= position);
}
