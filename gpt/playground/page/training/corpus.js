/** A text as a corpus: its characters, and its two splits. */

export const TRAIN_FRACTION = 0.9; // of a text, its beginning; the rest is the validation split

/**
 * The characters of a text, sorted as train.py does, and the ids of its two splits. Raises an Error, in one line, if
 * there is too little to learn from.
 */
export function encoded(text, blockSize) {
  const all = new Int32Array(text.length); // code points, of which there are at most as many
  let length = 0;
  const ids = new Int32Array(0x110000); // by code point; until they are known, 1 for those in the text
  for (let place = 0; place < text.length; place += all[length++] > 0xffff ? 2 : 1) {
    all[length] = text.codePointAt(place);
    ids[all[length]] = 1;
  }
  const points = [];
  for (let point = ids.indexOf(1); point >= 0; point = ids.indexOf(1, point + 1)) points.push(point);
  const least = Math.ceil((blockSize + 1) / (1 - TRAIN_FRACTION)) + 1;
  if (length < least)
    throw new Error(`the text is too short: ${length} characters, but a window of ${blockSize} needs ${least}`);
  if (points.length < 2) throw new Error("the text has only one character: there is nothing to predict");
  for (const [id, point] of points.entries()) ids[point] = id;
  const tokens = all.subarray(0, length).map((point) => ids[point]);
  const border = Math.floor(TRAIN_FRACTION * length);
  const vocabulary = points.map((point) => String.fromCodePoint(point));
  return { vocabulary, splits: { train: tokens.slice(0, border), val: tokens.slice(border) } };
}
