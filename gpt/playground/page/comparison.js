/** Two runs on one prompt: what the second gained over the first, token by token if both have the same. */
/** @import { TextPanel } from "./panel.js" */
/** @import { Score } from "./predictions.js" */
import { element, note, spoken } from "./dom.js";
import { lossPerCharacter, meanLoss } from "./predictions.js";
import { written } from "./text.js";

const HIGHEST = 1.5; // nats: differences this large or larger have the full colour

/** Fill `root` with the comparison of two panels that have read the same prompt; hide it if they cannot be compared. */
export function compare(root, /** @type {TextPanel} */ first, /** @type {TextPanel} */ second) {
  const [a, b] = [first, second].map((panel) => ({
    tokens: panel.tokens.slice(0, panel.own),
    scores: panel.scores.slice(0, panel.own),
    characters: panel.characters().slice(0, panel.own),
  }));
  const comparable = Math.min(a.scores.length, b.scores.length) > 1 && first.prompt === second.prompt;
  root.hidden = !comparable;
  if (!comparable) return;
  const isAlike = a.tokens.length === b.tokens.length && a.tokens.every((token, i) => token === b.tokens[i]);
  const [lossA, lossB] = [a, b].map(({ scores, characters }) =>
    isAlike ? meanLoss(scores) : lossPerCharacter(scores, characters),
  );
  const unit = isAlike ? (first.run.token === second.run.token ? first.run.token : "token") : "character";
  const gain = lossA - lossB;
  const names = nameApart(first.run, second.run);
  const sides = names.map((name, i) => element("b", { class: "ab"[i] }, name));
  const [loser, winner] = gain >= 0 ? sides : sides.toReversed();
  const by = element("b", {}, Math.abs(gain).toFixed(2));
  const losses = `(${names[0]} ${lossA.toFixed(2)}, ${names[1]} ${lossB.toFixed(2)})`;
  root.replaceChildren(
    element(
      "p",
      { class: "verdict" },
      ...[winner, " predicts this prompt better than ", loser, ": by ", by, ` nats per ${unit} `],
      element("span", { class: "note" }, losses),
    ),
    ...(isAlike
      ? differences(a, b, names, unit)
      : [note("Their tokens differ, so only the means are compared, per character.")]),
  );
}

function differences(a, b, names, unit) {
  return [
    element(
      "div",
      {
        class: "text differences",
        "data-unit": unit,
        tabindex: "0",
        role: "group",
        "aria-label": `The prompt, coloured by the run that predicted each ${unit} better`,
      },
      ...a.tokens.map((token, i) => difference(token, a.scores[i], b.scores[i])),
    ),
    element("p", { class: "note row" }, key("a", names[0]), key("b", names[1])),
  ];
}

const key = (side, name) => element("span", { class: `key ${side}` }, `${name} predicted it better`);

function difference(token, /** @type {Score} */ a, /** @type {Score} */ b) {
  const span = element("span", {}, written(token));
  if (a === null) return span;
  const gain = a.loss - b.loss;
  span.className = gain >= 0 ? "b" : "a";
  span.style.setProperty("--gain", Math.min(Math.abs(gain) / HIGHEST, 1).toFixed(3));
  span.title = `${spoken(token)}: ${a.loss.toFixed(2)} and ${b.loss.toFixed(2)} nats`;
  return span;
}

/** Names that tell two runs apart: their stages, and their folders' last parts where these are the same. */
function nameApart(first, second) {
  if (first.stage !== second.stage) return [first.stage, second.stage];
  return [first, second].map((run) => `${run.stage} (${run.folder.split("/").at(-1)})`);
}
