/**
 * The steps to one prediction.
 *
 * @import { Pass } from "./pass.js"
 *
 * A step: `parts` are those of picture.js that it explains, `detail` what it explains of the first of them, in the names
 * of linked.js.
 * @typedef {{
 *   title: string, parts: string[], detail?: string[], code: string, shape: string | null, body: (Node | null)[],
 * }} Step
 */
import { button, element, note, row, short, spoken, table } from "./dom.js";
import { cell, heads, projections, scores, sumOfValues } from "./looking_back.js";
import { named } from "./pass.js";
import { ranking, softmax } from "./predictions.js";
import { shownNumber, sizeOf, strip } from "./strips.js";

const LISTED = 5; // tokens

/** @type {(pass: Pass) => Step[]} All steps of a pass, in their order. */
export function stepsOf(pass) {
  if (!pass.layers.length) return ofTable(pass);
  return [
    embedding(pass),
    counts(pass),
    chooseLayer(pass),
    ...pass.branches.flatMap((branch) => ofBranch(pass, branch)),
    norm(pass),
    logits(pass, "lm_head(x)"),
  ].filter(Boolean);
}

/** @type {(pass: Pass, branch: string) => (Step | null)[]} */
function ofBranch(pass, branch) {
  const inner =
    branch === "attention"
      ? [projections(pass), scores(pass), cell(pass), sumOfValues(pass), heads(pass)]
      : [hidden(pass, branch)];
  return [normalised(pass, branch), ...inner, added(pass, branch)];
}

/** @type {(pass: Pass) => Step[]} */
function ofTable(pass) {
  return [
    {
      title: "The row of the last token in the table",
      parts: ["table"],
      code: `table[${JSON.stringify(pass.tokens[pass.row])}]`,
      shape: `(V=${pass.values.logits.length})`,
      body: [note("The table has a row of logits for each token. No earlier token is read.")],
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
  const sum = token && [
    named(pass, "embedding.token", { name: "token" }),
    named(pass, "embedding.position", { name: "position", after: "+" }),
  ];
  const parts = [...(sum ?? []), named(pass, "stream.embedding", { name: "x", after: sum ? "=" : "" })];
  const said = position
    ? `A trained vector for “${name}” and one for position ${pass.row} of the window, the first being 0, added ` +
      "number by number."
    : `A trained vector for “${name}”.` +
      (pass.parts.has("attention.positions")
        ? " Positions come in later: queries and keys are rotated by theirs."
        : "");
  return {
    title: position ? "Embedding + positions" : "Embedding",
    parts: ["embedding", "embedding.position"],
    code: token ? "x = token(idx) + position" : "x = embedding(idx)",
    shape: `(C=${x.length})`,
    body: [note(said), ...parts],
  };
}

/** @type {(pass: Pass) => Step | null} */
function counts(pass) {
  if (!("expected" in pass.values)) return null;
  return {
    title: "What the counts expect",
    parts: ["expected"],
    code: "x = x + expected(p)",
    shape: `(C=${pass.values.expected.length})`,
    body: [
      note("The n-gram counts’ probabilities, as a vector."),
      named(pass, "expected", { after: "+" }),
      named(pass, "stream.expected", { name: "x", after: "=" }),
    ],
  };
}

/** @type {(pass: Pass) => Step | null} */
function chooseLayer(pass) {
  if (pass.layers.length < 2) return null;
  const buttons = pass.layers.map((_, i) =>
    button(`layer ${i + 1}`, "switch", () => pass.choose({ layer: i }), {
      "aria-pressed": String(i === pass.layer),
      "data-focus": `layer${i}`,
    }),
  );
  return {
    title: `${pass.layers.length} blocks, or layers, one after another`,
    parts: ["blocks"],
    code: "x = blocks(x)",
    shape: null,
    body: [
      note("Each has its own weights. The next steps show one of them:"),
      element("div", { class: "switch-row row" }, ...buttons),
    ],
  };
}

/** @type {(pass: Pass, branch: string) => Step | null} What a branch does with the stream before it reads it. */
function normalised(pass, branch) {
  const [norm, shift] = [`${branch}_norm`, `${branch}_shift`].map((name) => pass.parts.get(name));
  if (!norm) return null;
  const before = pass.streamBefore(branch);
  const again = pass.branches.indexOf(branch) ? " again" : "";
  return {
    title: `${norm.label}${again}${shift ? ` and ${shift.label}` : ""}`,
    parts: [`${branch}_norm`, `${branch}_shift`],
    code: shift ? `${branch}_shift(${branch}_norm(x))` : `${branch}_norm(x)`,
    shape: `(C=${before.length})`,
    body: [
      note(norm.note),
      strip("x", before),
      named(pass, `${pass.prefix}${branch}_norm`, { name: "norm", after: "→" }),
      ...(shift ? [named(pass, `${pass.prefix}${branch}_shift`, { name: "shift", after: "→" })] : []),
    ],
  };
}

/** @type {(pass: Pass, branch: string) => Step | null} */
function added(pass, branch) {
  const output = pass.of(branch);
  const path = `${pass.prefix}${branch}`;
  const isAttention = branch === "attention";
  const name = branch.replaceAll("_", "-");
  const title = isAttention ? "What attention" : `What the ${name} layer`;
  const row = pass.flow.find(({ sum, branch: its }) => sum && its === branch);
  if (!row) {
    const part = isAttention ? "attention" : unitsOf(pass, branch).at(-1).name;
    return {
      title: `${title} hands on`,
      parts: [part],
      detail: [isAttention ? "attention:output" : part],
      code: `x = ${branch}(x)`,
      shape: `(C=${output.length})`,
      body: [
        note("It replaces what was read: there is no residual connection before v5."),
        named(pass, path, { name: "x", after: "=" }),
      ],
    };
  }
  const [before, after] = [pass.streamBefore(branch), pass.values[`stream.${path}`]];
  const largest = sizeOf(before, output, after);
  return {
    title: `${title} adds`,
    parts: [...row.parts, row.sum].map((part) => part.name),
    code: `x = x + ${branch}(${pass.parts.has(`${branch}_norm`) ? "…" : "x"})`,
    shape: `(C=${after.length})`,
    body: [
      note(
        isAttention
          ? "The result is added to the x that the branch has read, number by number."
          : `The projection, a linear layer, computes ${output.length} sums of the units times trained weights, plus ` +
              "a bias. They are added to x.",
      ),
      strip("x", before, { largest }),
      named(pass, path, { name, largest, after: "+" }),
      named(pass, `stream.${path}`, { name: "x", largest, after: "=" }),
      ...row.parts.filter((part) => part.note).map((part) => note(part.note)),
    ],
  };
}

/** The parts of a branch without heads that compute its units. */
function unitsOf(/** @type {Pass} */ pass, branch) {
  const row = pass.flow.find(({ parts }) => parts.some(({ name }) => name.split(".")[0] === branch));
  return row.parts.filter(({ name }) => `${pass.prefix}${name}` in pass.values);
}

/** @type {(pass: Pass, branch: string) => Step} */
function hidden(pass, branch) {
  const units = unitsOf(pass, branch).filter(({ name }) => name !== branch);
  const last = pass.of(units.at(-1).name);
  const [first, ...rest] = pass.flow
    .find(({ parts }) => parts.some(({ name }) => name === units[0].name))
    .parts.filter(({ name }) => !name.endsWith(".wide"));
  const on = last.reduce((sum, x) => sum + (x > 0 ? 1 : 0), 0);
  const notes = rest.map(({ note }) => note).filter(Boolean);
  const label = first.label[0].toUpperCase() + first.label.slice(1);
  return {
    title: `${label}: ${last.length} units and ${rest.map((part) => part.label).join(", ")}`,
    parts: [first.name, `${branch}.wide`, ...rest.map((part) => part.name)],
    code: rest.map((part) => part.code).find(Boolean) ?? `${branch}(x)`,
    shape: `(${last.length})`,
    body: [
      note(
        "A linear layer: each unit is a sum of the numbers of x times trained weights, plus a bias." +
          notes.map((note) => ` ${on} of ${last.length} are positive; ${note}`).join(""),
      ),
      ...units.map(({ name, label, code }) =>
        strip(label, pass.of(name), { after: code ? "→" : "", path: `${pass.prefix}${name}` }),
      ),
    ],
  };
}

/** @type {(pass: Pass) => Step | null} */
function norm(pass) {
  if (!("norm" in pass.values)) return null;
  return {
    title: `The last ${pass.parts.get("norm").label}`,
    parts: ["norm"],
    code: "norm(x)",
    shape: `(C=${pass.values.norm.length})`,
    body: [...fromLastLayer(pass), named(pass, "norm", { after: "→" })],
  };
}

/** What the layers hand on, of which the reader has seen one. */
function fromLastLayer(/** @type {Pass} */ pass) {
  const last = pass.layers.at(-1);
  const path = `stream.${last}${pass.branches.at(-1)}`;
  const [shown, count] = [pass.layer + 1, pass.layers.length];
  const others =
    `The steps above are those of layer ${shown}. The layers after it do the same, and this is what the last one, ` +
    `layer ${count}, puts out.`;
  return [shown < count ? note(others) : null, named(pass, path, { name: "x" })];
}

/** @type {(pass: Pass, code: string) => Step} */
function logits(pass, code) {
  const x = pass.values.logits;
  const p = softmax(x);
  const network = `lens.${pass.layers.at(-1)}${pass.branches.at(-1)}`;
  const best = ranking(p).slice(0, LISTED);
  const powers = Float64Array.from(x, Math.exp);
  const rows = best.map((token) =>
    row(short(pass.names[token]), ...[x, powers, p].map((values) => shownNumber(values[token]))),
  );
  for (const [i, made] of rows.entries()) made.dataset.token = String(best[i]);
  const sum = powers.reduce((a, b) => a + b, 0);
  rows.push(row(`all ${x.length}`, "", shownNumber(sum), "1"));
  const labels = pass.names.map(short);
  return {
    title: pass.layers.length ? `Output layer${"trust" in pass.values ? ", counts" : ""} and softmax` : "Softmax",
    parts: ["lm_head", "trust", "softmax"],
    code: "trust" in pass.values ? "lm_head(x) + trust · log p" : `softmax(${code})`,
    shape: null,
    body: [
      ...(pass.layers.length && !("norm" in pass.values) ? fromLastLayer(pass) : []),
      note(
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
