/** Two runs on one prompt: what the second gained over the first, character by character. */
import { element, spoken } from "./dom.js";
import { meanLoss } from "./predictions.js";

const HIGHEST = 1.5; // nats: differences this large or larger have the full colour

/** Fill `root` with the comparison of two panels that have read the same prompt; hide it if they cannot be compared. */
export function compare(root, first, second) {
  const [a, b] = [first, second].map((panel) => ({
    stage: panel.run.stage,
    characters: panel.characters.slice(0, panel.own),
    scores: panel.scores.slice(0, panel.own),
  }));
  const comparable = Math.min(a.scores.length, b.scores.length) > 1 && a.characters.join("") === b.characters.join("");
  root.hidden = !comparable;
  if (!comparable) return;
  const [lossA, lossB] = [meanLoss(a.scores), meanLoss(b.scores)];
  const gain = lossA - lossB;
  const better = gain >= 0 ? second : first;
  const names = nameApart(first.run, second.run);
  const [winner, loser] = better === second ? [names[1], names[0]] : names;
  const side = better === second ? "b" : "a";
  root.replaceChildren(
    element(
      "p",
      { class: "verdict" },
      element("b", { class: `in-${side}` }, winner),
      " predicts this prompt better than ",
      element("b", { class: `in-${side === "a" ? "b" : "a"}` }, loser),
      ": by ",
      element("b", {}, Math.abs(gain).toFixed(2)),
      " nats per character ",
      element(
        "span",
        { class: "note" },
        `(${names[0]} ${lossA.toFixed(2)}, ${names[1]} ${lossB.toFixed(2)})`,
      ),
    ),
    element(
      "div",
      {
        class: "text differences",
        tabindex: "0",
        role: "group",
        "aria-label": "The prompt, coloured by the run that predicted each character better",
      },
      ...a.characters.map((character, i) => difference(character, a.scores[i], b.scores[i])),
    ),
    element(
      "p",
      { class: "note legend" },
      element("span", { class: "swatch in-a" }),
      ` ${names[0]} predicted it better `,
      element("span", { class: "swatch in-b" }),
      ` ${names[1]} predicted it better`,
    ),
  );
}

function difference(character, a, b) {
  const span = element("span", {}, character === "\n" ? "↵\n" : character);
  if (a === null) return span;
  const gain = a.loss - b.loss;
  span.className = gain >= 0 ? "in-b" : "in-a";
  span.style.setProperty("--gain", Math.min(Math.abs(gain) / HIGHEST, 1).toFixed(3));
  span.title = `${spoken(character)}: ${a.loss.toFixed(2)} and ${b.loss.toFixed(2)} nats`;
  return span;
}

/** Names that tell two runs apart: their stages, and their folders' last parts where these are the same. */
function nameApart(first, second) {
  if (first.stage !== second.stage) return [first.stage, second.stage];
  return [first, second].map((run) => `${run.stage} (${run.folder.split("/").slice(-1)[0]})`);
}
