/** The page in a frame of another page: the prompt and the results, other settings folded away, and as high as its content. */
/** @import { Run } from "./engines/server.js" */
import { element } from "./dom.js";

export function embed() {
  const asked = new URLSearchParams(location.search);
  document.body.classList.add("embedded");
  document.body.classList.toggle("sampling", asked.has("sampling"));
  if (asked.has("payoff")) fold("Look further", ...document.querySelector("main").children);
  else if (!asked.has("train")) fold("Train it yourself, here", document.getElementById("training"));
  const others = document.getElementById("others");
  others.removeAttribute("open");
  others.append(document.querySelector(".pickers"));
  // To a page with another address, too: there is no secret in a height.
  const tell = () => parent.postMessage({ height: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  new ResizeObserver(tell).observe(document.body);
  link();
}

/** Fold away what the frame is not opened for. */
function fold(title, ...parts) {
  const folded = element("details", { class: "fold" }, element("summary", {}, title));
  parts[0].before(folded);
  folded.append(...parts);
}

/** Let the page around the frame ask for something: `show` is called with that, as in an address. */
export function listen(show) {
  addEventListener("message", ({ source, data }) => {
    if (source === parent && typeof data?.show === "string") show(new URLSearchParams(data.show));
  });
  parent.postMessage({ ready: true }, "*");
}

/** Tell the page around the frame what a training has reached; without a frame, nobody listens. */
export function tellTrained(/** @type {Run} */ { stage, loss, seed, changed }) {
  parent.postMessage({ trained: { stage, loss: loss.nats, seed, changed } }, "*");
}

/** Whether parts light up with others: one is the same, within it, or its box. As in docs/_static/linked.js. */
function isLit(parts, by) {
  const isOne = (part, other) =>
    part === other || part.startsWith(`${other}.`) || part.startsWith(`${other}:`) || other.startsWith(`${part}:`);
  return parts.split(" ").some((part) => by.split(" ").some((other) => isOne(part, other)));
}

/** Tell the surrounding page which part is pointed at or has the focus, and light up the one that it names. */
function link() {
  let told = null;
  const tell = ({ target }) => {
    const part = target.closest?.("[data-part]")?.dataset.part ?? null;
    if (part !== told) parent.postMessage({ part }, "*");
    told = part;
  };
  for (const kind of ["pointerover", "focusin"]) addEventListener(kind, tell);
  addEventListener("message", ({ source, data }) => {
    if (source !== parent || data?.part === undefined) return;
    told = null;
    // Where the steps are folded away, the line that opens them.
    for (const line of document.querySelectorAll(".steps > summary")) {
      line.classList.toggle("lit", data.part !== null && !line.parentElement.hasAttribute("open"));
    }
    for (const one of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-part]"))) {
      one.classList.toggle("lit", typeof data.part === "string" && isLit(one.dataset.part, data.part));
    }
  });
}
