/** The page in a frame of another page: the prompt and the results, other settings folded away, and as high as its content. */

export function embed() {
  document.body.classList.add("embedded");
  document.body.classList.toggle("trains", new URLSearchParams(location.search).has("train"));
  const others = document.getElementById("others");
  others.removeAttribute("open");
  others.append(document.querySelector(".pickers"));
  // To a page with another address, too: there is no secret in a height.
  const tell = () => parent.postMessage({ height: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  new ResizeObserver(tell).observe(document.body);
}
