/* A picture whose empty axes come first: the reader draws what he expects on them, and then sees the picture behind it.
   What he drew is kept with his guesses. */
addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure:has(> img.empty)")) offerToDraw(figure);
});

function offerToDraw(figure) {
  const name = figure.querySelector("img.empty").src.replace(/.*\/|-empty.*/g, "");
  /** @type {any} */
  let drawn = record.read().guesses[name]; // the path of a line
  let isShown = drawn !== undefined;
  const sheet = document.createElement("div");
  sheet.className = "sheet";
  sheet.append(...figure.querySelectorAll(":scope > img"));
  sheet.insertAdjacentHTML(
    "beforeend",
    '<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><path/></svg>',
  );
  const svg = /** @type {SVGElement} */ (sheet.lastElementChild);
  const said = document.createElement("p");
  said.className = "guess";
  said.innerHTML = "<span></span> <button></button>";
  const button = said.querySelector("button");
  const draw = () => {
    svg.firstElementChild.setAttribute("d", drawn ?? "");
    figure.classList.toggle("unseen", !isShown);
    const line = drawn ? "Dashed: your guess." : "";
    said.firstElementChild.textContent = isShown ? line : "Draw what you expect on the empty axes.";
    button.textContent = isShown ? "Draw again" : "Show the picture";
  };
  const add = ({ offsetX, offsetY }, command) => {
    const place = `${((100 * offsetX) / svg.clientWidth).toFixed(1)} ${((100 * offsetY) / svg.clientHeight).toFixed(1)}`;
    drawn = `${drawn ?? ""}${command}${place}`;
    draw();
  };
  svg.addEventListener("pointerdown", (event) => {
    if (isShown) return;
    svg.setPointerCapture(event.pointerId);
    add(event, "M");
    add(event, "L"); // a press alone is a dot
  });
  svg.addEventListener("pointermove", (event) => {
    if (svg.hasPointerCapture(event.pointerId)) add(event, "L");
  });
  button.addEventListener("click", () => {
    isShown = !isShown;
    if (isShown) record.keep("guesses", name, drawn ?? "");
    else drawn = "";
    draw();
  });
  figure.prepend(said, sheet);
  draw();
}
