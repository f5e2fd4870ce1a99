/* A graph that one steps through, forwards and backwards. Without a script, it shows the last step, and a list all. */
addEventListener("DOMContentLoaded", () => {
  for (const figure of document.querySelectorAll("figure.graph")) stepThrough(figure);
});

function stepThrough(figure) {
  const words = [...figure.querySelectorAll("li")].map((item) => item.innerHTML);
  const controls = document.createElement("div");
  controls.innerHTML = `<button type="button">Back</button>
    <input type="range" min="0" max="${words.length}" value="0" aria-label="Step">
    <button type="button">Next</button><p role="status"></p>`;
  figure.querySelector("svg").after(controls);
  const slider = controls.querySelector("input");
  const [back, next] = controls.querySelectorAll("button");
  const show = () => {
    const step = slider.valueAsNumber;
    for (const part of figure.querySelectorAll("[data-from]")) {
      const { from, until = Infinity } = part.dataset;
      part.classList.toggle("absent", step < from || step >= until);
    }
    for (const part of figure.querySelectorAll("[data-at]")) {
      part.classList.toggle("lit", part.dataset.at.split(" ").includes(String(step)));
    }
    const said = words[step - 1] ?? "Press <b>Next</b>, or the arrow keys on the slider.";
    figure.classList.toggle("backwards", said.startsWith("Backwards"));
    slider.ariaValueText = `${step} of ${words.length}`;
    controls.querySelector("p").innerHTML = said;
  };
  slider.addEventListener("input", show);
  const go = (way) => {
    slider.valueAsNumber += way; // the browser keeps it within its ends
    show();
  };
  back.addEventListener("click", () => go(-1));
  next.addEventListener("click", () => go(1));
  show();
}
