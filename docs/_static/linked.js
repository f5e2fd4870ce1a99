/* On the page of a stage, what is pointed at or has the focus lights up wherever else it stands: in the live stage, in
   the code and in the formulas. Parts are named as in gpt/inspection/dataflow.py, with what they do behind a colon. */

/* What a part looks like in code. Others are called by the name of their module: self.embedding. */
const IN_CODE = [
  ["embedding:token", /self\.token(?:\(idx\))?/],
  ["embedding.position", /self\.position(?:\.weight\[:T\])?(?!s)/],
  ["attention:qkv", /self\.(?:query|key|value|qkv)\b(?:\(x\))?/],
  ["attention:scores", /q @ k\.transpose\(-2, -1\)(?: \* k\.shape\[-1\] \*\* -0\.5)?/],
  ["attention:mask", /torch\.ones\(T, T.*?\)\.triu\(diagonal=1\)|scores\.masked_fill\(future, float\("-inf"\)\)/],
  ["attention:softmax", /scores\.softmax\(dim=-1\)/],
  ["attention:values", /@ v\b/],
  ["attention.heads", /\.unflatten\(-1, \(3, self\.n_head, -1\)\)|\.transpose\(1, 2\)\.flatten\(-2\)/],
  ["attention.positions", /self\.positions(?:\(q, k\))?/],
  ["attention.dropout", /self\.dropout\b(?=\)\s*$| = Dropout\(dropout\)\s+def attend)/m],
  ["attention.projection", /self\.projection\b/],
  ["attention", /causal_attention(?=\()|self\.attend\(q, k, v\)|super\(\)\.(?:attend\(q, k, v\)|forward\(x\))/],
  ["plus.attention", /\+(?= self\.(?:dropout\(self\.)?attention\b)/],
  ["plus.feed_forward", /\+(?= self\.(?:dropout\(self\.)?feed_forward\b)/],
  ["feed_forward.0", /nn\.Linear\(n_embd, (?=4)|nn\.Linear\(n_embd, n_embd\)(?=, nn\.ReLU)/],
  ["feed_forward.wide", /4 \* n_embd(?=\), (?:nn\.|Squared)ReLU)/],
  ["feed_forward.1", /(?:nn\.|Squared)ReLU\(\)/],
  ["feed_forward.2", /nn\.Linear\(4 \* n_embd, n_embd\)/],
  [null, /self\.(\w+)/],
];

/* And in a formula, whose signs are joined to a text. */
const IN_FORMULAS = [
  ["attention:softmax", /softmax/],
  ["attention:scores", /QK⊤/],
  ["attention:mask", /M(?=\))/],
  ["attention:values", /V$|V(?=,)/],
  ["attention:qkv", /W[QKV]/],
  ["attention.projection", /WO\+bO/],
  ["attention", /attention|heads/],
  ["plus.attention", /\+(?=heads)/],
  ["plus.feed_forward", /\+(?=max)/],
  ["feed_forward.0", /x′?W1?\+b1?/],
  ["feed_forward.1", /max/],
  ["feed_forward.2", /W2\+b2/],
  ["feed_forward", /ffn/],
  ["attention_norm feed_forward_norm norm", /LN/],
  ["softmax", /e(?=W)|∑k/],
  ["table", /W/],
];

/**
 * Whether parts light up with others: one is the same, within it, or its box. As in embedded.js of the live stage.
 * Several parts have spaces between them.
 */
function isLit(parts, by) {
  const isOne = (part, other) =>
    part === other || part.startsWith(`${other}.`) || part.startsWith(`${other}:`) || other.startsWith(`${part}:`);
  return parts.split(" ").some((part) => by.split(" ").some((other) => isOne(part, other)));
}

const IS_PART = /^(?:embedding|attention|feed_forward|plus|norm|lm_head|table|softmax|blocks)/;

addEventListener("DOMContentLoaded", async () => {
  if (!document.querySelector("iframe.live")) return;
  for (const block of document.querySelectorAll(":is(.highlight-python, .highlight-default) pre")) markCode(block);
  connect();
  await new Promise((resolve) => addEventListener("load", resolve));
  await globalThis.MathJax?.startup?.promise;
  markFormulas();
});

/* A bold phrase that names what it speaks of is a button: it shows that in the live stage. */
addEventListener("DOMContentLoaded", () => {
  /** @type {HTMLIFrameElement} */
  const frame = document.querySelector("iframe.live");
  if (!frame) return;
  let asked = null;
  const ask = () => asked && frame.contentWindow.postMessage({ show: asked }, "*");
  addEventListener("message", ({ source, data }) => {
    if (source === frame.contentWindow && data?.ready) ask(); // it is loaded when it is near
  });
  for (const phrase of document.querySelectorAll("b[data-show]")) {
    const button = document.createElement("button");
    button.className = "show";
    button.title = "Show it in the live stage";
    button.append(...phrase.childNodes);
    button.addEventListener("click", () => {
      asked = phrase.getAttribute("data-show");
      frame.scrollIntoView();
      ask();
    });
    phrase.replaceWith(button);
  }
});

/**
 * The places of parts in a text, the first of several patterns first, which do not overlap.
 * @returns {[start: number, end: number, part: string][]}
 */
function found(text, patterns) {
  const places = [];
  for (const [name, pattern] of patterns) {
    for (const match of text.matchAll(new RegExp(pattern, `g${pattern.flags}`))) {
      const [start, end, part] = [match.index, match.index + match[0].length, name ?? match[1]];
      if (IS_PART.test(part) && places.every(([from, to]) => end <= from || to <= start))
        places.push([start, end, part]);
    }
  }
  return places.sort((a, b) => a[0] - b[0]);
}

/** Make the parts of a block of code elements. The first can be reached by the keyboard, and from there, the others. */
function markCode(block) {
  const places = found(block.textContent, IN_CODE);
  for (const [start, end, part] of places.reverse()) {
    const range = document.createRange();
    range.setStart(...at(block, start + 1)); // within the element of its first sign, not behind the one before
    range.setStart(range.startContainer, range.startOffset - 1);
    range.setEnd(...at(block, end));
    const span = document.createElement("span");
    span.dataset.part = part;
    span.tabIndex = -1;
    span.append(range.extractContents());
    range.insertNode(span);
  }
  /** @type {NodeListOf<HTMLElement>} */
  const spans = block.querySelectorAll("[data-part]");
  if (spans.length) spans[0].tabIndex = 0;
  block.addEventListener("keydown", (event) => {
    const to = [...spans].indexOf(event.target) + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? Number.NaN);
    if (!spans[to]) return;
    event.preventDefault();
    spans[to].focus();
  });
}

/**
 * The text node and the offset in it that a number of characters lead to.
 * @returns {[text: Node, offset: number]}
 */
function at(block, offset) {
  const texts = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  for (let before = 0; texts.nextNode(); before += texts.currentNode.nodeValue.length) {
    if (before + texts.currentNode.nodeValue.length >= offset) return [texts.currentNode, offset - before];
  }
}

function markFormulas() {
  for (const formula of document.querySelectorAll("div.math svg")) {
    const signs = [...formula.querySelectorAll("[data-c]")].map((sign) => ({
      sign,
      text: String.fromCodePoint(Number.parseInt(sign.getAttribute("data-c"), 16)).normalize("NFKC"),
    }));
    for (const [start, end, part] of found(signs.map(({ text }) => text).join(""), IN_FORMULAS)) {
      for (const { sign } of signs.slice(start, end)) sign.setAttribute("data-part", part);
    }
  }
}

function connect() {
  /** @type {NodeListOf<HTMLIFrameElement>} */
  const frames = document.querySelectorAll("iframe.live");
  let lit = null;
  const light = (part, source = null) => {
    if (part === lit) return;
    lit = part;
    for (const one of document.querySelectorAll("[data-part]")) {
      one.classList.toggle("lit", part !== null && isLit(one.getAttribute("data-part"), part));
    }
    for (const frame of frames) if (frame.contentWindow !== source) frame.contentWindow?.postMessage({ part }, "*");
  };
  const partOf = (target) => target?.closest?.("[data-part]")?.getAttribute("data-part") ?? null;
  addEventListener("pointerover", ({ target }) => light(partOf(target) ?? partOf(document.activeElement)));
  addEventListener("focusin", ({ target }) => light(partOf(target)));
  addEventListener("focusout", () => light(null));
  addEventListener("message", ({ source, data }) => {
    if (![...frames].some(({ contentWindow }) => contentWindow === source)) return;
    if (data?.part === null || (typeof data?.part === "string" && IS_PART.test(data.part))) light(data.part, source);
  });
}
