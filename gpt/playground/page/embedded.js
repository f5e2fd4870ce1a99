/** The page in a frame of another page: the results first, the controls folded away, and as high as its content. */

export function embed() {
  document.body.classList.add("embedded");
  document.body.classList.toggle("trains", new URLSearchParams(location.search).has("train"));
  document.getElementById("asking").removeAttribute("open");
  document.getElementById("controls").prepend(document.querySelector(".pickers"));
  // To a page with another address, too: there is no secret in a height.
  const tell = () => parent.postMessage({ height: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  new ResizeObserver(tell).observe(document.body);
  // Before the reader has guessed the stage's loss, nothing here gives it away.
  addEventListener("message", ({ source, data }) => {
    if (source === parent && "covered" in data) document.body.classList.toggle("covered", data.covered);
  });
}

/**
 * Tell the page around the frame what a training has reached; without a frame, nobody listens.
 * @import { Run } from "./engines/server.js"
 * @import { Chosen } from "./training/order.js"
 * @param {Run} run
 * @param {Chosen} chosen
 */
export function tellTrained({ stage, estimated }, chosen) {
  parent.postMessage({ trained: { stage, loss: estimated.val, ...chosen } }, "*");
}
