/** From the text to one prediction, step by step, with the numbers of the forward pass. */
import { element, short, spoken } from "./dom.js";
import { isResidual } from "./lens.js";
import { ranking, softmax } from "./predictions.js";
import { shownNumber, sizeOf, strip } from "./strips.js";

const LISTED = 5; // tokens
const READ = 6; // values in a sum that are shown

export class Flow {
  constructor(run, names) {
    Object.assign(this, { run, names });
    [this.layer, this.head, this.key] = [0, 0, 0];
    this.step = null; // where the reader is; null shows all steps alike
    this.values = null; // by name
    this.root = element("div", { class: "flow-view" });
  }

  /** The tensors of the forward pass over a window of token ids, for the prediction after its `row`. */
  show(values, window, row) {
    Object.assign(this, { row, tokens: window.map((id) => this.names[id]) });
    this.values = Object.fromEntries(Object.entries(values).map(([name, { data }]) => [name, data]));
    this.isResidual = isResidual(values);
    this.shapes = Object.fromEntries(Object.entries(values).map(([name, { shape }]) => [name, shape]));
    this.layers = Object.keys(values)
      .filter((name) => name.endsWith("attention.q"))
      .map((name) => name.slice(0, -"attention.q".length))
      .sort(byNumber);
    this.layer = Math.min(this.layer, Math.max(0, this.layers.length - 1));
    this.key = this.#strongest();
    this.#draw();
  }

  clear() {
    this.values = null;
    this.root.replaceChildren();
  }

  /** Redraw after a change of colours. */
  redraw() {
    if (this.values) this.#draw();
  }

  #strongest() {
    const weights = this.#of("attention.weights", this.head);
    return weights ? ranking(weights)[0] : 0;
  }

  get #prefix() {
    return this.layers[this.layer];
  }

  /** A tensor of the chosen layer, or its part for one head and one token. */
  #of(name, ...indices) {
    const path = `${this.#prefix}${name}`;
    if (!(path in this.values)) return null;
    const size = this.shapes[path].slice(indices.length).reduce((a, b) => a * b, 1);
    const start = indices.reduce((sum, index, i) => sum * this.shapes[path][i] + index, 0) * size;
    return this.values[path].subarray(start, start + size);
  }

  #strip(path, options = {}) {
    return strip(options.name ?? path.split(".").slice(-1)[0], this.values[path], { path, ...options });
  }

  #draw() {
    const focused = document.activeElement?.dataset?.focus;
    const steps = this.#steps().filter(Boolean);
    if (this.step !== null) this.step = Math.min(this.step, steps.length - 1);
    this.items = steps.map(({ title, since, code, shape, body }, i) =>
      element(
        "li",
        {
          class: `step${since === this.run.stage ? " new" : ""}`,
          "aria-current": i === this.step ? "step" : null,
        },
        element(
          "h4",
          {},
          title,
          since === this.run.stage ? element("span", { class: "badge" }, `new in ${since}`) : null,
        ),
        element("code", {}, code),
        ...body,
        shape ? element("span", { class: "arrow" }, `↓ ${shape}`) : null,
      ),
    );
    const going = this.step === null ? `${steps.length} steps` : `step ${this.step + 1} of ${steps.length}`;
    const go = (name, place, focus, disabled) =>
      element(
        "button",
        { type: "button", class: "quiet", "data-focus": focus, disabled, onclick: () => this.#go(place) },
        name,
      );
    this.root.replaceChildren(
      element(
        "div",
        { class: "stepper" },
        go("◀ Back", (this.step ?? 0) - 1, "back", !this.step),
        go(
          this.step === null ? "Step through" : "Next ▶",
          this.step === null ? 0 : this.step + 1,
          "next",
          this.step === steps.length - 1,
        ),
        element("span", { class: "note", role: "status" }, going),
        this.step === null ? null : go("Show all", null, "all", false),
        element(
          "span",
          { class: "legend", "aria-hidden": "true" },
          "negative",
          element("span", { class: "ramp signed" }),
          "positive",
        ),
      ),
      element("ol", { class: this.step === null ? "flow" : "flow stepping" }, ...this.items),
    );
    if (focused) this.root.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  #go(step) {
    this.step = step;
    this.#draw();
    if (step !== null)
      this.items[step].scrollIntoView({
        block: "nearest",
        behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
      });
  }

  #choose(changes) {
    Object.assign(this, changes);
    if (!("key" in changes)) this.key = this.#strongest();
    this.#draw();
  }

  #steps() {
    if (!this.layers.length) return this.#ofTable();
    return [
      this.#embedding(),
      this.#counts(),
      this.#chooseLayer(),
      this.#before("attention", "Normalise, then look"),
      this.#scores(),
      this.#cell(),
      this.#sum(),
      this.#heads(),
      this.#added("attention", "What attention adds", this.#streamBefore()),
      this.#before("feed_forward", "Normalise again"),
      this.#hidden(),
      this.#added(
        "feed_forward",
        "What the feed-forward layer adds",
        this.values[`stream.${this.#prefix}attention`],
      ),
      this.#norm(),
      this.#logits("lm_head(x)"),
    ];
  }

  #ofTable() {
    return [
      {
        title: "The row of the last token",
        since: "v1",
        code: `table[${JSON.stringify(this.tokens[this.row])}]`,
        shape: `(V=${this.values.logits.length})`,
        body: [this.#say("The table has a row of logits for each token. No earlier token is read.")],
      },
      this.#logits("table(idx)"),
    ];
  }

  #embedding() {
    const [token, position, x] = ["embedding.token", "embedding.position", "stream.embedding"].map(
      (name) => this.values[name],
    );
    const name = spoken(this.tokens[this.row]);
    const parts = token
      ? [
          this.#strip("embedding.token", { name: "token" }),
          this.#strip("embedding.position", { name: "position", after: "+" }),
          this.#strip("stream.embedding", { name: "x", after: "=" }),
        ]
      : [this.#strip("stream.embedding", { name: "x" })];
    const said = position
      ? `A vector for “${name}” and one for place ${this.row + 1} of the window, added number by number.`
      : `A vector for “${name}”. Places come in later: queries and keys are rotated by theirs.`;
    return {
      title: "Embedding",
      since: "v2",
      code: token ? "x = token(idx) + position" : "x = embedding(idx)",
      shape: `(C=${x.length})`,
      body: [this.#say(said), ...parts],
    };
  }

  #counts() {
    if (!("expected" in this.values)) return null;
    return {
      title: "What the counts expect",
      since: "v9",
      code: "x = x + expected(p)",
      shape: `(C=${this.values.expected.length})`,
      body: [
        this.#say("The n-gram counts’ probabilities, as a vector."),
        this.#strip("expected", { after: "+" }),
        this.#strip("stream.expected", { name: "x", after: "=" }),
      ],
    };
  }

  #chooseLayer() {
    if (this.layers.length < 2) return null;
    const buttons = this.layers.map((_, i) =>
      element(
        "button",
        {
          type: "button",
          class: "switch",
          "aria-pressed": String(i === this.layer),
          "data-focus": `layer${i}`,
          onclick: () => this.#choose({ layer: i }),
        },
        `layer ${i + 1}`,
      ),
    );
    return {
      title: `${this.layers.length} layers, one after another`,
      since: "v4",
      code: "x = blocks(x)",
      shape: null,
      body: [
        this.#say("Each has its own weights. The steps below are those of"),
        element("div", { class: "switch-row" }, ...buttons),
      ],
    };
  }

  /** What a branch does with the stream before it reads it. */
  #before(branch, title) {
    if (!this.#of(`${branch}_norm`)) return null;
    const prefix = this.#prefix;
    const before = branch === "attention" ? this.#streamBefore() : this.values[`stream.${prefix}attention`];
    const shift = this.#of(`${branch}_shift`);
    return {
      title: shift ? `${title.split(",")[0]}, mix in the token before` : title.split(",")[0],
      since: shift ? "v8" : "v6",
      code: shift ? `${branch}_shift(${branch}_norm(x))` : `${branch}_norm(x)`,
      shape: `(C=${before.length})`,
      body: [
        this.#say(
          `LayerNorm moves the ${before.length} numbers to mean 0 and deviation 1, then scales and shifts each by what it learned.`,
        ),
        strip("x", before),
        this.#strip(`${prefix}${branch}_norm`, { name: "norm", after: "→" }),
        ...(shift ? [this.#strip(`${prefix}${branch}_shift`, { name: "shift", after: "→" })] : []),
      ],
    };
  }

  /** Every head's weights, as cells that can be clicked. */
  #scores() {
    const [H, T] = this.shapes[`${this.#prefix}attention.weights`];
    const cell = (h, s) => {
      const isFuture = s > this.row;
      const weight = this.#of("attention.weights", h)[s];
      const percent = isFuture ? "masked" : `${(100 * weight).toFixed(0)}%`;
      return element(
        "td",
        {},
        element(
          "button",
          {
            type: "button",
            class: "cell",
            style: `--look: ${weight.toFixed(3)}`,
            "data-focus": `cell${h}-${s}`,
            "aria-pressed": String(h === this.head && s === this.key),
            "aria-label": `head ${h + 1}, “${spoken(this.tokens[s])}” at place ${s + 1}: ${percent}`,
            onclick: () => this.#choose({ head: h, key: s }),
          },
          isFuture ? "–" : (100 * weight).toFixed(0),
        ),
      );
    };
    const places = Array.from({ length: T }, (_, s) => s);
    const table = element(
      "table",
      { class: "cells-table" },
      element(
        "caption",
        { class: "note" },
        "Weights in percent; – is masked. Click one to see how it is made.",
      ),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          element("td", {}),
          ...places.map((s) => element("th", { scope: "col" }, short(this.tokens[s]))),
        ),
      ),
      element(
        "tbody",
        {},
        ...Array.from({ length: H }, (_, h) =>
          element(
            "tr",
            {},
            element("th", { scope: "row" }, `head ${h + 1}`),
            ...places.map((s) => cell(h, s)),
          ),
        ),
      ),
    );
    return {
      title: H > 1 ? `${H} heads look back` : "One head looks back",
      since: H > 1 ? "v3" : "v2",
      code: "weights = softmax(mask(q @ kᵀ / √D))",
      shape: `(H=${H}, T=${T})`,
      body: [
        this.#say(
          `“${spoken(this.tokens[this.row])}” asks with its query; each token of the window answers with its key.`,
        ),
        element(
          "div",
          { class: "scrolls", tabindex: "0", role: "group", "aria-label": "The weights of each head" },
          table,
        ),
      ],
    };
  }

  /** How one weight is made. */
  #cell() {
    const { head, key } = this;
    const [q, k] = [this.#of("attention.q", head), this.#of("attention.k", head, key)];
    const products = q.map((x, i) => x * k[i]);
    const largest = sizeOf(q, k, products);
    const score = this.#of("attention.scores", head)[key];
    const D = q.length;
    const scores = this.#of("attention.scores", head).map((x) => x / Math.sqrt(D));
    const isFuture = key > this.row;
    const exponentials = scores.subarray(0, this.row + 1).map((x) => Math.exp(x));
    const total = exponentials.reduce((a, b) => a + b, 0);
    const fact = (name, value, what) =>
      element("div", { "data-fact": name }, element("dt", {}, what), element("dd", {}, value));
    const name = this.values["embedding.token"] ? "" : ", rotated by its place";
    return {
      title: `One cell: head ${head + 1}, “${spoken(this.tokens[key])}” at place ${key + 1}`,
      since: "v2",
      code: "q · k / √D",
      shape: "(1)",
      body: [
        this.#say(
          `q is made of “${spoken(this.tokens[this.row])}”${name}, k of “${spoken(this.tokens[key])}”. They are multiplied number by number, and the products added.`,
        ),
        strip("q", q, { largest, path: "cell.q" }),
        strip("k", k, { largest, after: "×", path: "cell.k" }),
        strip("q k", products, { largest, after: "=", path: "cell.products" }),
        element(
          "dl",
          { class: "facts" },
          fact("score", shownNumber(score), "sum of the products"),
          fact("scaled", shownNumber(scores[key]), `divided by √${D} = ${shownNumber(Math.sqrt(D), 2)}`),
          fact(
            "masked",
            isFuture ? "−∞" : "kept",
            isFuture ? "it comes later, so it is masked" : "it is not later, so the mask",
          ),
          fact("exponential", isFuture ? "0" : shownNumber(exponentials[key]), "e to that power"),
          fact("total", shownNumber(total), `sum of these over ${this.row + 1} tokens`),
          fact(
            "weight",
            shownNumber(this.#of("attention.weights", head)[key]),
            "the weight: one divided by the other",
          ),
        ),
      ],
    };
  }

  /** The sum of the values by their weights. */
  #sum() {
    const { head } = this;
    const weights = this.#of("attention.weights", head).subarray(0, this.row + 1);
    const listed = ranking(weights)
      .slice(0, READ)
      .sort((a, b) => a - b);
    const terms = listed.map((s) => this.#of("attention.v", head, s).map((x) => x * weights[s]));
    const read = this.#of("attention.heads", head);
    const largest = sizeOf(read, ...terms);
    const more = weights.length - listed.length;
    return {
      title: "The sum of the values",
      since: "v2",
      code: "weights @ v",
      shape: `(D=${read.length})`,
      body: [
        this.#say(
          `Each token’s value, times its weight in head ${head + 1}${more ? `; the ${listed.length} largest of ${weights.length}` : ""}.`,
        ),
        ...terms.map((term, i) =>
          strip(`${shownNumber(weights[listed[i]], 2)} v “${short(this.tokens[listed[i]])}”`, term, {
            largest,
            after: i ? "+" : "",
            path: `sum.${listed[i]}`,
          }),
        ),
        strip(`head ${head + 1}`, read, { largest, after: more ? "≈" : "=", path: `sum.head` }),
      ],
    };
  }

  #heads() {
    const [H, D] = this.shapes[`${this.#prefix}attention.heads`];
    const output = this.#of("attention");
    const largest = sizeOf(this.#of("attention.heads"));
    if (H === 1) return null;
    const isProjected = this.isResidual; // the projection comes with the residual connections
    return {
      title: "The heads side by side",
      since: "v3",
      code: isProjected ? "projection(concatenate(heads))" : "concatenate(heads)",
      shape: `(H·D=${H * D})`,
      body: [
        ...Array.from({ length: H }, (_, h) =>
          strip(`head ${h + 1}`, this.#of("attention.heads", h), { largest, path: `heads.${h}` }),
        ),
        ...(isProjected
          ? [
              this.#say(
                "A linear layer mixes them, so that a head can write into every number of the stream.",
              ),
              strip("mixed", output, { after: "→", path: `${this.#prefix}attention` }),
            ]
          : []),
      ],
    };
  }

  #streamBefore() {
    const before = this.layer
      ? `${this.layers[this.layer - 1]}feed_forward`
      : "expected" in this.values
        ? "expected"
        : "embedding";
    return this.values[`stream.${before}`];
  }

  #added(branch, title, before) {
    const output = this.#of(branch);
    if (!output) return null;
    const path = `${this.#prefix}${branch}`;
    if (!this.isResidual)
      return {
        title: title.replace("adds", "hands on"),
        since: null,
        code: `x = ${branch}(x)`,
        shape: `(C=${output.length})`,
        body: [
          this.#say("It replaces what was read: there is no residual connection before v5."),
          this.#strip(path, { name: "x", after: "=" }),
        ],
      };
    const after = this.values[`stream.${path}`];
    const largest = sizeOf(before, output, after);
    return {
      title,
      since: "v5",
      code: `x = x + ${branch}(${this.#of(`${branch}_norm`) ? "…" : "x"})`,
      shape: `(C=${after.length})`,
      body: [
        strip("x", before, { largest }),
        this.#strip(path, {
          name: branch === "attention" ? "attention" : "feed-forward",
          largest,
          after: "+",
        }),
        this.#strip(`stream.${path}`, { name: "x", largest, after: "=" }),
        ...(this.run.stage === "v7"
          ? [this.#say("Dropout would zero some of these numbers while training; here it is off.")]
          : []),
      ],
    };
  }

  #hidden() {
    const [before, after] = [this.#of("feed_forward.0"), this.#of("feed_forward.1")];
    if (!after) return null;
    const on = after.reduce((sum, x) => sum + (x > 0 ? 1 : 0), 0);
    const squares = this.values["embedding.token"] ? "" : "²";
    const prefix = this.#prefix;
    return {
      title: "The feed-forward layer’s units",
      since: "v3_ffn",
      code: `relu(x W + b)${squares}`,
      shape: `(${after.length})`,
      body: [
        this.#say(
          `${on} of ${after.length} units are on; the others are negative, and become 0${squares ? "; the rest are squared" : ""}.`,
        ),
        strip("before", before, { path: `${prefix}feed_forward.0` }),
        strip("after", after, { after: "→", path: `${prefix}feed_forward.1` }),
      ],
    };
  }

  #norm() {
    if (!("norm" in this.values)) return null;
    return {
      title: "The last norm",
      since: "v6",
      code: "norm(x)",
      shape: `(C=${this.values.norm.length})`,
      body: [this.#strip("norm")],
    };
  }

  #logits(code) {
    const x = this.values.logits;
    const p = softmax(x);
    const best = ranking(p).slice(0, LISTED);
    const rows = best.map((token) =>
      element(
        "tr",
        { "data-token": token },
        element("th", { scope: "row" }, short(this.names[token])),
        element("td", {}, shownNumber(x[token])),
        element("td", {}, shownNumber(p[token])),
      ),
    );
    return {
      title:
        this.layers.length > 1
          ? `After layer ${this.layers.length}: logits and probabilities`
          : "Logits and probabilities",
      since: "trust" in this.values ? "v9" : "v1",
      code: "trust" in this.values ? "lm_head(x) + trust · log p" : `softmax(${code})`,
      shape: null,
      body: [
        this.#say(`A number for each of ${x.length} tokens; softmax makes probabilities of them.`),
        ...("trust" in this.values
          ? [
              strip("network", this.values[this.#lastLens], { path: this.#lastLens }),
              this.#strip("trust", { name: "trust" }),
              this.#strip("logits", { after: "=" }),
            ]
          : [this.#strip("logits")]),
        element(
          "table",
          { class: "logits" },
          element(
            "thead",
            {},
            element(
              "tr",
              {},
              ...["next", "logit", "probability"].map((name) => element("th", { scope: "col" }, name)),
            ),
          ),
          element("tbody", {}, ...rows),
        ),
      ],
    };
  }

  get #lastLens() {
    return `lens.${this.layers.at(-1)}feed_forward`;
  }

  #say = (text) => element("p", { class: "note" }, text);
}

const byNumber = (a, b) => Number(a.replace(/\D/g, "")) - Number(b.replace(/\D/g, ""));
