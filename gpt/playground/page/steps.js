/**
 * The steps to one prediction.
 *
 * @import { Pass } from "./pass.js"
 *
 * A step: `parts` are those of picture.js that it explains, `detail` what it explains of the first of them, in the names
 * of linked.js; `since` is the stage in which it is new.
 * @typedef {{
 *   title: string, parts: string[], detail?: string[], since: string | null, code: string, shape: string | null, body: (Node | null)[],
 * }} Step
 */
import { element, short, spoken, table } from "./dom.js";
import { cell, heads, projections, scores, sumOfValues } from "./looking_back.js";
import { named, say } from "./pass.js";
import { ranking, softmax } from "./predictions.js";
import { shownNumber, sizeOf, strip } from "./strips.js";

const LISTED = 5; // tokens

/**
 * All steps of a pass, in their order.
 * @param {Pass} pass
 * @returns {Step[]}
 */
export function stepsOf(pass) {
  if (!pass.layers.length) return ofTable(pass);
  const between = pass.values[`stream.${pass.prefix}attention`];
  return [
    embedding(pass),
    counts(pass),
    chooseLayer(pass),
    normalised(pass, "attention", "LayerNorm"),
    projections(pass),
    scores(pass),
    cell(pass),
    sumOfValues(pass),
    heads(pass),
    added(pass, "attention", "What attention adds", pass.streamBefore()),
    normalised(pass, "feed_forward", "LayerNorm again"),
    hidden(pass),
    added(pass, "feed_forward", "What the feed-forward layer adds", between),
    norm(pass),
    logits(pass, "lm_head(x)"),
  ].filter(Boolean);
}

/** @type {(pass: Pass) => Step[]} */
function ofTable(pass) {
  return [
    {
      title: "The row of the last token in the table",
      parts: ["table"],
      since: "v1",
      code: `table[${JSON.stringify(pass.tokens[pass.row])}]`,
      shape: `(V=${pass.values.logits.length})`,
      body: [say("The table has a row of logits for each token. No earlier token is read.")],
    },
    logits(pass, "table(idx)"),
  ];
}

/** @type {(pass: Pass) => Step | null} */
function embedding(pass) {
  const [token, position, x] = ["embedding.token", "embedding.position", "stream.embedding"].map(
    (name) => pass.values[name],
  );
  const name = spoken(pass.tokens[pass.row]);
  const parts = token
    ? [
        named(pass, "embedding.token", { name: "token" }),
        named(pass, "embedding.position", { name: "position", after: "+" }),
        named(pass, "stream.embedding", { name: "x", after: "=" }),
      ]
    : [named(pass, "stream.embedding", { name: "x" })];
  const said = position
    ? `A trained vector for “${name}” and one for position ${pass.row} of the window, the first being 0, added ` +
      "number by number."
    : `A trained vector for “${name}”. Positions come in later: queries and keys are rotated by theirs.`;
  return {
    title: position ? "Embedding + positions" : "Embedding",
    parts: ["embedding", "embedding.position"],
    since: "v2",
    code: token ? "x = token(idx) + position" : "x = embedding(idx)",
    shape: `(C=${x.length})`,
    body: [say(said), ...parts],
  };
}

/** @type {(pass: Pass) => Step | null} */
function counts(pass) {
  if (!("expected" in pass.values)) return null;
  return {
    title: "What the counts expect",
    parts: ["expected"],
    since: "v9",
    code: "x = x + expected(p)",
    shape: `(C=${pass.values.expected.length})`,
    body: [
      say("The n-gram counts’ probabilities, as a vector."),
      named(pass, "expected", { after: "+" }),
      named(pass, "stream.expected", { name: "x", after: "=" }),
    ],
  };
}

/** @type {(pass: Pass) => Step | null} */
function chooseLayer(pass) {
  if (pass.layers.length < 2) return null;
  const buttons = pass.layers.map((_, i) =>
    element(
      "button",
      {
        type: "button",
        class: "switch",
        "aria-pressed": String(i === pass.layer),
        "data-focus": `layer${i}`,
        onclick: () => pass.choose({ layer: i }),
      },
      `layer ${i + 1}`,
    ),
  );
  return {
    title: `${pass.layers.length} blocks, or layers, one after another`,
    parts: ["blocks"],
    since: "v4",
    code: "x = blocks(x)",
    shape: null,
    body: [
      say("Each has its own weights. The next steps show one of them:"),
      element("div", { class: "switch-row" }, ...buttons),
    ],
  };
}

/**
 * What a branch does with the stream before it reads it.
 * @type {(pass: Pass, branch: string, title: string) => Step | null}
 */
function normalised(pass, branch, title) {
  if (!pass.of(`${branch}_norm`)) return null;
  const prefix = pass.prefix;
  const before = branch === "attention" ? pass.streamBefore() : pass.values[`stream.${prefix}attention`];
  const shift = pass.of(`${branch}_shift`);
  return {
    title: shift ? `${title} and token shift` : title,
    parts: [`${branch}_norm`, `${branch}_shift`],
    since: shift ? "v8" : "v6",
    code: shift ? `${branch}_shift(${branch}_norm(x))` : `${branch}_norm(x)`,
    shape: `(C=${before.length})`,
    body: [
      say(
        `LayerNorm moves the ${before.length} numbers to mean 0 and deviation 1, ` +
          "then scales and shifts each by what it learned.",
      ),
      strip("x", before),
      named(pass, `${prefix}${branch}_norm`, { name: "norm", after: "→" }),
      ...(shift ? [named(pass, `${prefix}${branch}_shift`, { name: "shift", after: "→" })] : []),
    ],
  };
}

/** @type {(pass: Pass, branch: string, title: string, before: Float32Array) => Step | null} */
function added(pass, branch, title, before) {
  const output = pass.of(branch);
  if (!output) return null;
  const path = `${pass.prefix}${branch}`;
  if (!pass.isResidual)
    return {
      title: title.replace("adds", "hands on"),
      parts: [branch === "attention" ? "attention" : "feed_forward.1"],
      detail: [branch === "attention" ? "attention:output" : "feed_forward.1"],
      since: null,
      code: `x = ${branch}(x)`,
      shape: `(C=${output.length})`,
      body: [
        say("It replaces what was read: there is no residual connection before v5."),
        named(pass, path, { name: "x", after: "=" }),
      ],
    };
  const after = pass.values[`stream.${path}`];
  const largest = sizeOf(before, output, after);
  return {
    title,
    parts: [branch === "attention" ? "attention.projection" : "feed_forward.2", "dropout", `plus.${branch}`],
    since: pass.stage === "v7" ? "v7" : "v5",
    code: `x = x + ${branch}(${pass.of(`${branch}_norm`) ? "…" : "x"})`,
    shape: `(C=${after.length})`,
    body: [
      say(
        branch === "attention"
          ? "The result is added to the x that the branch has read, number by number."
          : `The projection, a linear layer, computes ${output.length} sums of the units times trained weights, plus ` +
              "a bias. They are added to x.",
      ),
      strip("x", before, { largest }),
      named(pass, path, {
        name: branch === "attention" ? "attention" : "feed-forward",
        largest,
        after: "+",
      }),
      named(pass, `stream.${path}`, { name: "x", largest, after: "=" }),
      ...(pass.stage === "v7" ? [say("Dropout would zero some of these numbers while training; here it is off.")] : []),
    ],
  };
}

/** @type {(pass: Pass) => Step | null} */
function hidden(pass) {
  const [before, after] = [pass.of("feed_forward.0"), pass.of("feed_forward.1")];
  if (!after) return null;
  const on = after.reduce((sum, x) => sum + (x > 0 ? 1 : 0), 0);
  const squares = pass.values["embedding.token"] ? "" : "²";
  const prefix = pass.prefix;
  return {
    title: `Feed-forward: ${after.length} units and ReLU${squares}`,
    parts: ["feed_forward.0", "feed_forward.wide", "feed_forward.1"],
    since: "v3_ffn",
    code: `relu(x W + b)${squares}`,
    shape: `(${after.length})`,
    body: [
      say(
        "A linear layer: each unit is a sum of the numbers of x times trained weights, plus a bias. " +
          `${on} of ${after.length} are positive; ReLU sets the others to 0` +
          (squares ? ", and squares the positive ones." : "."),
      ),
      strip("before", before, { path: `${prefix}feed_forward.0` }),
      strip("after", after, { after: "→", path: `${prefix}feed_forward.1` }),
    ],
  };
}

/** @type {(pass: Pass) => Step | null} */
function norm(pass) {
  if (!("norm" in pass.values)) return null;
  return {
    title: "The last LayerNorm",
    parts: ["norm"],
    since: "v6",
    code: "norm(x)",
    shape: `(C=${pass.values.norm.length})`,
    body: [...fromLastLayer(pass), named(pass, "norm", { after: "→" })],
  };
}

/**
 * What the layers hand on, of which the reader has seen one.
 * @param {Pass} pass
 */
function fromLastLayer(pass) {
  const last = pass.layers.at(-1);
  const path = [`stream.${last}feed_forward`, `stream.${last}attention`].find((name) => name in pass.values);
  const [shown, count] = [pass.layer + 1, pass.layers.length];
  const others =
    shown < count
      ? `The steps above are those of layer ${shown}. The layers after it do the same, and this is what the last one, ` +
        `layer ${count}, puts out.`
      : null;
  return [others ? say(others) : null, named(pass, path, { name: "x" })];
}

/** @type {(pass: Pass, code: string) => Step} */
function logits(pass, code) {
  const x = pass.values.logits;
  const p = softmax(x);
  const network = `lens.${pass.layers.at(-1)}feed_forward`;
  const best = ranking(p).slice(0, LISTED);
  const powers = Float64Array.from(x, Math.exp);
  const row = (name, token, ...cells) =>
    element(
      "tr",
      { "data-token": token },
      element("th", { scope: "row" }, name),
      ...cells.map((cell) => element("td", {}, cell)),
    );
  const rows = best.map((token) =>
    row(short(pass.names[token]), token, ...[x, powers, p].map((values) => shownNumber(values[token]))),
  );
  const sum = powers.reduce((a, b) => a + b, 0);
  rows.push(row(`all ${x.length}`, null, "", shownNumber(sum), "1"));
  const labels = pass.names.map(short);
  return {
    title: !pass.layers.length
      ? "Softmax"
      : "trust" in pass.values
        ? "Output layer, counts and softmax"
        : "Output layer and softmax",
    parts: ["lm_head", "trust", "softmax"],
    since: "trust" in pass.values ? "v9" : "v1",
    code: "trust" in pass.values ? "lm_head(x) + trust · log p" : `softmax(${code})`,
    shape: null,
    body: [
      ...(pass.layers.length && !("norm" in pass.values) ? fromLastLayer(pass) : []),
      say(
        `A logit for each of ${x.length} tokens` +
          (pass.layers.length ? ", a sum of the numbers above times trained weights, plus a bias. " : ". ") +
          "Softmax divides e to the power of a logit by the sum of all these powers.",
      ),
      ...("trust" in pass.values
        ? [
            strip("network", pass.values[network], { path: network, labels }),
            named(pass, "trust", { name: "trust" }),
            named(pass, "logits", { after: "=", labels }),
          ]
        : [named(pass, "logits", { labels })]),
      table("logits", ["next", "logit", "e^logit", "probability"], rows),
    ],
  };
}
