/** The steps of attention: the weights of each head, how one of them is made, and what is read with them. */
/** @import { Pass } from "./pass.js" */
/** @import { Step } from "./steps.js" */
import { attending, mostRead } from "./attending.js";
import { button, element, note, row, short, spoken, table } from "./dom.js";
import { shownNumber, sizeOf, strip } from "./strips.js";

/** @type {(pass: Pass) => Step} Every head's weights, as cells that can be clicked. */
export function scores(pass) {
  const [H, T] = pass.shapes[`${pass.prefix}attention.weights`];
  const cell = (h, s) => {
    const isFuture = s > pass.row;
    const weight = pass.of("attention.weights", h)[s];
    const percent = isFuture ? "masked" : `${(100 * weight).toFixed(0)}%`;
    const choose = () => pass.choose({ head: h, key: s });
    return button(isFuture ? "–" : (100 * weight).toFixed(0), "cell", choose, {
      style: `--look: ${weight.toFixed(3)}`,
      "data-focus": `cell${h}-${s}`,
      "aria-pressed": String(h === pass.head && s === pass.key),
      "aria-label": `head ${h + 1}, “${spoken(pass.tokens[s])}” at position ${s}: ${percent}`,
    });
  };
  const places = Array.from({ length: T }, (_, s) => s);
  const rows = Array.from({ length: H }, (_, h) => row(`head ${h + 1}`, ...places.map((s) => cell(h, s))));
  const columns = [null, ...places.map((s) => short(pass.tokens[s]))];
  const caption = "Weights in percent; – is masked. Click one to see how it is computed.";
  return {
    title: H > 1 ? `Attention in ${H} heads` : "Attention",
    parts: ["attention", "attention.heads", "attention.positions", "attention.dropout"],
    detail: ["attention:scores", "attention:mask", "attention:softmax"],
    code: "weights = softmax(mask(q @ kᵀ / √D))",
    shape: `(H=${H}, T=${T})`,
    body: [
      note(
        `“${spoken(pass.tokens[pass.row])}” asks with its query, and each token up to it answers with its key. ` +
          "Later tokens are masked.",
      ),
      element(
        "div",
        { class: "scrolls", tabindex: "0", role: "group", "aria-label": "The weights of each head" },
        table("cells-table", columns, rows, caption),
      ),
      attending(pass),
    ],
  };
}

/** @type {(pass: Pass) => Step} How one weight is computed. */
export function cell(pass) {
  const { head, key } = pass;
  const [q, k] = [pass.of("attention.q", head), pass.of("attention.k", head, key)];
  const products = q.map((x, i) => x * k[i]);
  const largest = sizeOf(q, k, products);
  const score = pass.of("attention.scores", head)[key];
  const D = q.length;
  const scores = pass.of("attention.scores", head).map((x) => x / Math.sqrt(D));
  const isFuture = key > pass.row;
  const readable = pass.tokens.slice(0, pass.row + 1);
  const exponentials = Float64Array.from(scores.subarray(0, readable.length), Math.exp);
  const total = exponentials.reduce((a, b) => a + b, 0);
  const fact = (name, value, what) =>
    element("div", { "data-fact": name }, element("dt", {}, what), element("dd", {}, value));
  return {
    title: `One cell: head ${head + 1}, “${spoken(pass.tokens[key])}” at position ${key}`,
    parts: ["attention"],
    detail: ["attention:scores", "attention:mask", "attention:softmax"],
    code: "q · k / √D",
    shape: "(1)",
    body: [
      note(
        `The query of “${spoken(pass.tokens[pass.row])}” and the key of “${spoken(pass.tokens[key])}” in this head are ` +
          "multiplied number by number, and the products are added up.",
      ),
      strip("q", q, { largest, path: "cell.q" }),
      strip("k", k, { largest, after: "×", path: "cell.k" }),
      strip("q k", products, { largest, after: "=", path: "cell.products" }),
      element(
        "dl",
        { class: "facts" },
        fact("score", shownNumber(score), "sum of the products"),
        fact("scaled", shownNumber(scores[key]), `divided by √${D} = ${shownNumber(Math.sqrt(D), 2)}`),
        fact("masked", isFuture ? "−∞" : "kept", `mask: it is ${isFuture ? "" : "not "}a later token`),
        fact("exponential", isFuture ? "0" : shownNumber(exponentials[key]), "e to the power of the divided sum"),
        fact("total", shownNumber(total), "sum of the powers of all readable tokens"),
        fact("weight", shownNumber(pass.of("attention.weights", head)[key]), "weight: the power divided by the sum"),
      ),
      strip("powers of e", exponentials, { path: "cell.exponentials", labels: readable.map(short) }),
    ],
  };
}

/** @type {(pass: Pass) => Step} The query, key and value of the token, of all heads one after the other. */
export function projections(pass) {
  const [H, D] = pass.shapes[`${pass.prefix}attention.q`];
  const x = pass.of("attention_shift") ?? pass.of("attention_norm") ?? pass.streamBefore("attention");
  const ofRow = (name) =>
    Float32Array.from(Array.from({ length: H }, (_, h) => [...pass.of(`attention.${name}`, h, pass.row)]).flat());
  return {
    title: "Query, key and value",
    parts: ["attention"],
    detail: ["attention:qkv"],
    code: "q, k, v = x @ W_q, x @ W_k, x @ W_v",
    shape: `(H·D=${H * D}) each`,
    body: [
      note(
        `Three linear layers read x. Each number is a sum of ${x.length} products: the numbers of x times trained ` +
          `weights, a column of W. ` +
          (H > 1 ? `The first ${D} numbers belong to head 1, the next ${D} to head 2, and so on. ` : "") +
          `${pass.note("attention.positions")} Every other token gets its own in the same way, from its own x.`,
      ),
      strip("x", x, { path: "qkv.x" }),
      strip("q", pass.of("attention.q"), { after: "→", path: "qkv.q" }),
      strip("k", ofRow("k"), { after: "→", path: "qkv.k" }),
      strip("v", ofRow("v"), { after: "→", path: "qkv.v" }),
    ],
  };
}

/** @type {(pass: Pass) => Step} The sum of the values by their weights. */
export function sumOfValues(pass) {
  const { head } = pass;
  const weights = pass.of("attention.weights", head).subarray(0, pass.row + 1);
  const listed = mostRead(weights);
  const terms = listed.map((s) => pass.of("attention.v", head, s).map((x) => x * weights[s]));
  const read = pass.of("attention.heads", head);
  const largest = sizeOf(read, ...terms);
  const others = read.map((x, i) => terms.reduce((rest, term) => rest - term[i], x));
  const more = weights.length - listed.length;
  return {
    title: "The sum of the values",
    parts: ["attention"],
    detail: ["attention:values"],
    code: "weights @ v",
    shape: `(D=${read.length})`,
    body: [
      note(
        `Each token’s value, times its weight in head ${head + 1}` +
          (more ? `: the ${listed.length} largest, and the sum of the others.` : "."),
      ),
      ...terms.map((term, i) =>
        strip(`${shownNumber(weights[listed[i]], 2)} v “${short(pass.tokens[listed[i]])}”`, term, {
          largest,
          after: i ? "+" : "",
          path: `sum.${listed[i]}`,
        }),
      ),
      more ? strip(`${more} others`, others, { largest, after: "+", path: "sum.others" }) : null,
      strip(`head ${head + 1}`, read, { largest, after: "=", path: "sum.head" }),
    ],
  };
}

/** @type {(pass: Pass) => Step | null} */
export function heads(pass) {
  const [H, D] = pass.shapes[`${pass.prefix}attention.heads`];
  const output = pass.of("attention");
  const largest = sizeOf(pass.of("attention.heads"));
  if (H === 1) return null;
  const isProjected = pass.parts.has("attention.projection");
  return {
    title: isProjected ? "The heads side by side, and their projection" : "The heads side by side",
    parts: ["attention.heads", ...(isProjected ? ["attention.projection"] : [])],
    code: isProjected ? "projection(concatenate(heads))" : "concatenate(heads)",
    shape: isProjected ? `(C=${output.length})` : `(H·D=${H * D})`,
    body: [
      ...Array.from({ length: H }, (_, h) =>
        strip(`head ${h + 1}`, pass.of("attention.heads", h), { largest, path: `heads.${h}` }),
      ),
      ...(isProjected
        ? [
            note(
              "The projection, a linear layer, computes each number of the result from all numbers of all heads: a sum " +
                "of these times trained weights, plus a bias.",
            ),
            strip("attention", output, { after: "→", path: `${pass.prefix}attention` }),
          ]
        : []),
    ],
  };
}
