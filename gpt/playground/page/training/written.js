/** The texts that a training has written. */
/** @import { Written } from "../engines/server.js" */

export const LETTERS = 100; // of a text that is kept
export const PASSAGES = 6; // of that length, written at once and judged; the first of them is the text

/** Whether the text after so many iterations is kept: 0, 1, 2, 5, 10, 20, 50, ... */
export function isMoment(iteration) {
  const digits = 10 ** Math.floor(Math.log10(iteration || 1));
  return [0, 1, 2, 5].includes(iteration / digits);
}

/**
 * The texts with a newer one: those of the moments, and the newest.
 * @param {Written[]} texts
 * @param {Written} newest
 */
export function extended(texts, newest) {
  const kept = texts.filter(({ iteration }) => isMoment(iteration) && iteration < newest.iteration);
  return [...kept, newest];
}

/** How often something is in a text that begins a line, and how often it could be. */
const TRAITS = {
  spaces: (text) => [found(text, / /g), text.length],
  "line breaks": (text) => [found(text, /\n/g), text.length],
  "capitals after them": (text) => [found(`\n${text}`, /\n\p{Lu}/gu), found(`\n${text}`, /\n[^\n]/g)],
  "names with a colon": (text) => [found(text, /^\p{Lu}[\p{L} ]*:$/gmu), found(text, /^.+$/gm)],
};
const MOST = "most words";
const EXPECTED = 4; // times in the passages, at least, if they were of the corpus
const MEASURED = 50; // times that it could be in the corpus, at least
const NOISE = 3; // texts, the first ones
const WORDS = 20; // in them, at least

const found = (text, pattern) => text.match(pattern)?.length ?? 0;
const words = (text) => text.toLowerCase().match(/\p{L}{3,}/gu) ?? [];

/**
 * What passages have about as often as a corpus: at most 1.5 standard deviations, or a fifth, less often, and not half as
 * often again. What the corpus has too seldom for so few letters is not judged. "Most words" are in the corpus, too.
 * @param {string} corpus
 * @returns {(passages: string[]) => string[]}
 */
export function judge(corpus) {
  const known = new Set(words(corpus));
  const usual = Object.entries(TRAITS).map(([name, counted]) => {
    const [times, of] = counted(corpus);
    return { name, counted, share: of >= MEASURED ? times / of : 0 };
  });
  return (passages) => {
    const traits = usual.filter(({ counted, share }) => {
      const [times, of] = passages.map(counted).reduce((a, b) => [a[0] + b[0], a[1] + b[1]]);
      const deviation = Math.sqrt((share * (1 - share)) / of);
      const [low, high] = [
        Math.min(0.8 * share, share - 1.5 * deviation),
        Math.max(1.5 * share, share + 2 * deviation),
      ];
      return share * of >= EXPECTED && times >= low * of && times <= high * of;
    });
    const all = passages.flatMap(words);
    const isMost = all.length >= WORDS && all.filter((word) => known.has(word)).length > all.length / 2;
    return [...traits.map(({ name }) => name), ...(isMost ? [MOST] : [])];
  };
}

/**
 * When each trait was there first and in the next text, too, with the iteration; none that one of the first three texts,
 * which are noise, has by chance.
 * @param {Written[]} texts
 * @returns {[trait: string, iteration: number][]}
 */
export function learned(texts) {
  const judged = texts.filter(({ traits }) => traits);
  return [...Object.keys(TRAITS), MOST].flatMap((name) => {
    const first = judged.findIndex(({ traits }, i) => traits.includes(name) && judged[i + 1]?.traits.includes(name));
    return first >= NOISE ? [/** @type {[string, number]} */ ([name, judged[first].iteration])] : [];
  });
}
