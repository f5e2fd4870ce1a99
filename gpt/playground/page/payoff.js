/** The one thing that shows the idea of a stage, with nothing to set: in a frame, it stands above all else. */
/** @import { Engine, Run } from "./engines/server.js" */
/** @import { TextPanel } from "./panel.js" */
/** @import { Racing } from "./training/race.js" */
import { arcs, Letters } from "./arcs.js";
import { button, count, element, guarded, isStill, percent, table, visible } from "./dom.js";
import { TRAIN_FRACTION } from "./training/corpus.js";
import { Race } from "./training/race.js";
import { TEXTS } from "./training/texts.js";

const PLAYED = 800; // milliseconds for each letter, until the reader chooses one

/**
 * @type {Record<string, {
 *   title: string, shows: "row" | "arcs" | "switches" | "race" | "counts" | "line", only?: string, off?: string, racing?: Racing,
 * }>}
 */
export const PAYOFFS = {
  v1: { title: "Click a letter: the bars are its row of the table", shows: "row" },
  v2: { title: "Click a letter: the arcs are what it reads", shows: "arcs" },
  v3: { title: "Click a letter: each of four heads reads for itself", shows: "arcs" },
  v3_ffn: {
    title: "The same training without and with a feed-forward layer",
    shows: "race",
    racing: {
      iterations: 1000,
      arms: [
        { label: "v3, without", stage: "v3" },
        { label: "v3_ffn, with", stage: "v3_ffn" },
      ],
    },
  },
  v4: {
    title: "More blocks, and the loss does not fall",
    shows: "race",
    racing: {
      iterations: 500,
      arms: [
        { label: "1 block", stage: "v4", variant: "1_block" },
        { label: "3 blocks", stage: "v4" },
        { label: "6 blocks", stage: "v4", variant: "6_blocks" },
      ],
    },
  },
  v5: {
    title: "Click a plus sign to take it away or put it back",
    shows: "switches",
    only: "plus",
    off: "blocks.0.plus.attention",
  },
  v6: {
    title: "The same high learning rate without and with LayerNorm",
    shows: "race",
    racing: {
      iterations: 500,
      arms: [
        { label: "v5, without", stage: "v5", learningRate: 0.05 },
        { label: "v6, with", stage: "v6", learningRate: 0.05 },
      ],
    },
  },
  v8: { title: "Click to put the rotary positions back", shows: "switches", only: "positions", off: "positions" },
  v9: { title: "Click a letter: what followed the last one to six letters in the training text", shows: "counts" },
  recall: { title: "What each layer looks at, as an arrow", shows: "line" },
};

/**
 * The payoff of a stage, which has one, with what is in the panel of a run.
 * @param {Engine} engine
 * @param {TextPanel} panel
 * @param {Iterable<Run>} trainable
 */
export function payoff(stage, engine, panel, trainable) {
  const { title, shows, only, off, racing } = PAYOFFS[stage];
  const shown = { row: byLetters, arcs: byLetters, counts: byLetters, switches, race, line: () => [panel.texts] }[
    shows
  ];
  return element("section", { class: "card payoff stack" }, element("h2", {}, title), ...shown());

  function byLetters() {
    const read = element("div");
    const said = element("p", { class: "note", role: "status" });
    const text = shows === "counts" ? trainingText() : null;
    const line = new Letters((position) => {
      clearInterval(playing);
      panel.select(position);
    });
    panel.looked = async (layers) => {
      const [tokens, position] = [panel.tokens, panel.text.position];
      line.show(tokens, position);
      if (shows === "arcs" && layers.length) {
        const drawn = arcs(layers[0], tokens, position);
        read.replaceChildren(...drawn.strips);
        said.textContent = drawn.said;
      }
      if (shows === "counts" && !layers.length) read.replaceChildren(followers(await text, tokens.slice(0, position)));
    };
    // Each letter asks once, as far as one that leaves the last unread.
    let next = 1;
    const playing = setInterval(() => {
      if (!panel.tokens.length) return; // it is still being loaded
      if (isStill() || next >= panel.tokens.length) clearInterval(playing);
      else panel.select(next++);
    }, PLAYED);
    if (shows === "counts") return [line.root, read];
    return [read, line.root, said, panel.predicted];
  }

  function switches() {
    const front = panel.inside.front(only);
    front.turnOff(off);
    return [front.root];
  }

  function race() {
    const bases = new Map([...trainable].map((run) => [run.stage, run]));
    const made = () => new Race(engine, racing, ({ stage }) => bases.get(stage));
    const place = element("div", {}, made().root);
    const failure = element("p", { class: "failure", role: "alert" });
    const train = button("Train them here", "primary", run, {
      disabled: !racing.arms.every((arm) => bases.has(arm.stage)),
    });
    const seen = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && run());
    if (!train.disabled && !isStill()) seen.observe(place);
    return [place, train, failure];

    async function run() {
      seen.disconnect();
      train.disabled = true;
      const going = made();
      place.replaceChildren(going.root);
      await guarded(failure, () => going.run());
      train.textContent = "Train them again";
      train.disabled = false;
    }
  }
}

const ORDERS = 6; // as in conf/model/v9.yaml

async function trainingText() {
  const { content } = await TEXTS.shakespeare.load();
  return content.slice(0, Math.floor(TRAIN_FRACTION * content.length));
}

/** What followed the last characters in a text, for one to six of them. */
function followers(text, read) {
  const rows = Array.from({ length: Math.min(ORDERS, read.length) }, (_, i) => {
    const context = read.slice(-i - 1).join("");
    const counts = new Map();
    for (let at = text.indexOf(context); at >= 0; at = text.indexOf(context, at + 1)) {
      const next = text[at + context.length];
      counts.set(next, (counts.get(next) ?? 0) + 1);
    }
    const all = [...counts].sort(([, a], [, b]) => b - a);
    const total = all.reduce((sum, [, n]) => sum + n, 0);
    const likeliest = all.slice(0, 3).map(([next, n]) => `${visible(next ?? "")} ${percent(n / total)}`);
    return element(
      "tr",
      {},
      ...[visible(context), count(total), likeliest.join("  ")].map((cell) => element("td", {}, cell)),
    );
  });
  return table("counts", ["after", "counted", "then"], rows);
}
