/** One query that meets the keys, gets its weights and fetches the values: stepped through, or played. */
/** @import { Pass } from "./pass.js" */
/** @import { Values } from "./predictions.js" */
import { button, element, isStill, percent, short, spoken } from "./dom.js";
import { ranking } from "./predictions.js";
import { cell, colour, shownNumber, sizeOf } from "./strips.js";

const READ = 8; // tokens, at most, that are shown one by one
const SHOWN = 900; // milliseconds of each step while it plays

/**
 * A token that the chosen head of a pass reads, or the others together. `score` is q · k / √D, and `term` the value times
 * the weight; the others have neither key nor score.
 * @typedef {{
 *   name: string, key: Values, score: number | null, weight: number, value: Values, term: Values,
 * }} Read
 */

/** What is shown after a number of steps: first who answers whom, then how, one more key each time. */
export function attending(/** @type {Pass} */ pass) {
  const { head, row, tokens } = pass;
  const query = pass.of("attention.q", head);
  const read = readBy(pass);
  const keys = read.filter(({ score }) => score !== null);
  const sum = pass.of("attention.heads", head);
  const said = sayings(`“${spoken(tokens[row])}”`, query.length, read, keys, head);
  const matched = sizeOf(query, ...keys.map(({ key }) => key));
  const fetched = sizeOf(sum, ...read.map(({ value }) => value));

  const shown = read.map((one) => ({ one, ...column(one, query, matched, fetched) }));
  const total = element("div", { class: "read sum" }, label("sum"), bar(sum, fetched));
  const status = element("p", { class: "note", role: "status" });
  const made = (name, focus, onclick) => button(name, "quiet", onclick, { "data-focus": `attending-${focus}` });
  const back = made("◀ Step back", "back", () => go(pass.met - 1));
  const next = made("Step on ▶", "next", () => go(pass.met + 1));
  const play = made("▶ Play", "play", () => (timer ? pause() : start()));
  play.hidden = isStill();
  const names = ["score", "weight", "value"].map((name) => element("span", {}, name));
  const asking = element("div", { class: "read querying" }, label("q"), bar(query, matched), ...names);
  const reads = element("div", { class: "reads", "aria-hidden": "true" }, asking); // `status` says what they show
  reads.append(...shown.map(({ root: of }) => of), total);
  const player = element("div", { class: "player row" }, back, play, next);
  const root = element("figure", { class: "attending" }, player, status, reads);

  let timer = null;
  const pause = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  };
  const start = () => {
    play.textContent = "❚❚ Pause";
    timer = setInterval(() => (root.isConnected && pass.met < said.length - 1 ? show(pass.met + 1) : pause()), SHOWN);
    show(pass.met === said.length - 1 ? 0 : pass.met + 1);
  };
  const go = (step) => {
    pause();
    show(step);
  };
  /** Show the query, the keys that it has met by then and, behind the last of them, weights, values, and their sum. */
  const show = (step) => {
    pass.met = step;
    root.classList.toggle("opening", step === 0);
    const met = step - 1;
    const after = met - keys.length;
    shown.forEach(({ one, root: of, fetch }, i) => {
      of.classList.toggle("met", one.score !== null && i < met);
      of.classList.toggle("here", i === met - 1 && after <= 0);
      of.classList.toggle("weighed", after >= 1);
      fetch(after >= 2);
    });
    total.classList.toggle("weighed", after >= 3);
    status.textContent = said[step];
    back.disabled = step === 0;
    next.disabled = step === said.length - 1;
  };
  show(Math.min(pass.met, said.length - 1));
  return root;
}

/** @type {(pass: Pass) => Read[]} What the chosen head reads, in the order of the text. */
function readBy(pass) {
  const { head, row, tokens } = pass;
  const weights = pass.of("attention.weights", head).subarray(0, row + 1);
  const listed = mostRead(weights);
  const scores = pass.of("attention.scores", head);
  const D = pass.of("attention.q", head).length;
  const read = listed.map((s) => {
    const value = pass.of("attention.v", head, s);
    const key = pass.of("attention.k", head, s);
    const term = value.map((x) => x * weights[s]);
    return { name: tokens[s], key, score: scores[s] / Math.sqrt(D), weight: weights[s], value, term };
  });
  if (listed.length === weights.length) return read;
  const others = pass.of("attention.heads", head).map((x, i) => read.reduce((rest, { term }) => rest - term[i], x));
  const weight = weights.reduce((sum, w, s) => (listed.includes(s) ? sum : sum + w), 0);
  return [...read, { name: "rest", key: new Float32Array(D), score: null, weight, value: others, term: others }];
}

/** The tokens with the largest weights, in the order of the text. */
export function mostRead(/** @type {Values} */ weights) {
  return ranking(weights)
    .slice(0, READ)
    .sort((a, b) => a - b);
}

/** What each step shows, in words. */
function sayings(asking, D, /** @type {Read[]} */ read, /** @type {Read[]} */ keys, head) {
  const most = keys.reduce((best, one) => (one.weight > best.weight ? one : best));
  const answers = [...read].sort((a, b) => b.weight - a.weight).slice(0, 3);
  return [
    `${asking} asks; these answer: ${answers.map(({ name, weight }) => `“${spoken(name)}” ${percent(weight)}`).join(", ")}.`,
    `The query q of ${asking}, ${D} numbers, is compared with the key k of each token.` +
      (read.length > keys.length ? ` Here are the ${keys.length} with the largest weights.` : ""),
    ...keys.map(({ name, score }) => `It meets the key of “${spoken(name)}”: q · k / √${D} = ${shownNumber(score)}.`),
    `Softmax turns these numbers into weights. The largest is that of “${spoken(most.name)}”: ` +
      `${shownNumber(most.weight)}.`,
    "Each value v is multiplied by its weight.",
    `Their sum is what head ${head + 1} has read.`,
  ];
}

/** The key of a token, the query beside it once they have met, their score, the weight, and the value. */
function column(/** @type {Read} */ { name, key, score, weight, value, term }, query, matched, fetched) {
  const isOne = score !== null;
  const fetching = bar(value, fetched);
  const root = element(
    "div",
    { class: "read" },
    label(short(name)),
    element("div", { class: "match" }, ...(isOne ? [bar(query, matched), bar(key, matched)] : [])),
    element("span", { class: "score" }, isOne ? shownNumber(score, 1) : ""),
    element("span", { class: "weight", style: `--look: ${weight.toFixed(3)}` }, `${(100 * weight).toFixed(0)}%`),
    fetching,
  );
  const fetch = (isFetched) => {
    const values = isFetched ? term : value;
    for (const [i, made] of [...fetching.children].entries()) colour(made, values[i], fetched);
  };
  return { root, fetch };
}

const label = (name) => element("span", { class: "name" }, name);

/** @param {Values} values */
const bar = (values, largest) => element("span", { class: "bar" }, ...Array.from(values, (x) => cell(x, largest)));
