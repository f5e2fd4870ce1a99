/** The texts that a training has written. */
/** @import { Written } from "../engines/server.js" */

export const LETTERS = 100; // of a text

/** Whether the text after so many iterations is kept: 0, 1, 2, 5, 10, 20, 50, ... */
export function isMoment(iteration) {
  const digits = 10 ** Math.floor(Math.log10(iteration || 1));
  return [0, 1, 2, 5].includes(iteration / digits);
}

/** The texts with a newer one: those of the moments, and the newest. */
export function extended(/** @type {Written[]} */ texts, /** @type {Written} */ newest) {
  const kept = texts.filter(({ iteration }) => isMoment(iteration) && iteration < newest.iteration);
  return [...kept, newest];
}
