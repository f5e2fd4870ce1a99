/** A text as a corpus: its characters, and its two splits. */

export const TRAIN_FRACTION = 0.9; // of a text, its beginning; the rest is the validation split

/**
 * The characters of a text, sorted as train.py does, and the ids of its two splits. Raises an Error, in one line, if
 * there is too little to learn from.
 */
export function encoded(text, blockSize) {
  const characters = Array.from(text);
  const least = Math.ceil((blockSize + 1) / (1 - TRAIN_FRACTION)) + 1;
  if (characters.length < least)
    throw new Error(
      `the text is too short: ${characters.length} characters, but a window of ${blockSize} needs ${least}`,
    );
  const vocabulary = [...new Set(characters)].sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  if (vocabulary.length < 2) throw new Error("the text has only one character: there is nothing to predict");
  const ids = new Map(vocabulary.map((character, id) => [character, id]));
  const all = Int32Array.from(characters, (character) => ids.get(character));
  const border = Math.floor(TRAIN_FRACTION * all.length);
  return { vocabulary, splits: { train: all.slice(0, border), val: all.slice(border) } };
}
