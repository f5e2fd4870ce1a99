/* A live stage is as high as its content, which it tells, so that nothing scrolls but the page. */
addEventListener("message", ({ source, data }) => {
  /** @type {NodeListOf<HTMLIFrameElement>} */
  const frames = document.querySelectorAll("iframe.live");
  for (const frame of frames) {
    if (frame.contentWindow === source && Number.isFinite(data?.height)) frame.style.height = `${data.height}px`;
  }
});

/* What the theme leaves out for screen readers, and for those who scroll with the keyboard. */
addEventListener("DOMContentLoaded", () => {
  for (const caption of document.querySelectorAll(".sidebar-tree .caption")) caption.ariaLevel = "2";
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "This page");
  const focusable = () => {
    for (const wide of document.querySelectorAll(".highlight pre, div.math, .table-wrapper")) {
      wide.removeAttribute("tabindex");
      if (wide.scrollWidth > wide.clientWidth) wide.setAttribute("tabindex", "0");
    }
  };
  focusable();
  addEventListener("resize", focusable);
  addEventListener("load", () => globalThis.MathJax?.startup?.promise?.then(focusable)); // formulas are drawn late
});

/* "What do you expect?" before a loss: a slider, and what follows in the section only after a guess. Without a script,
   and where the Markdown is read, it is a question and its answer. */
addEventListener("DOMContentLoaded", () => {
  for (const question of document.querySelectorAll("blockquote")) {
    if (question.querySelector("strong")?.textContent !== "What do you expect?") continue;
    const answer = document.createElement("div");
    while (question.nextElementSibling && question.nextElementSibling.tagName !== "SECTION") {
      answer.append(question.nextElementSibling);
    }
    question.after(answer);
    answer.className = "guessed";
    answer.hidden = true;
    const loss = Number.parseFloat(answer.querySelector("strong")?.textContent);
    if (Number.isFinite(loss)) ask(question, answer, loss);
    else offer(question, answer);
  }
});

function reveal(answer) {
  answer.hidden = false;
  dispatchEvent(new Event("resize")); // code that is wide can be measured only now
}

/* A question that is not about a loss has no slider. */
function offer(question, answer) {
  const button = document.createElement("button");
  button.className = "guess";
  button.textContent = "Show the answer";
  button.addEventListener("click", () => {
    reveal(answer);
    answer.tabIndex = -1; // the button is gone: the keyboard goes on from here
    button.remove();
    answer.focus();
  });
  question.after(button);
}

function ask(question, answer, loss) {
  const form = document.createElement("form");
  form.className = "guess";
  form.innerHTML = `<label>Your guess <input type="range" min="1" max="4.17" step="0.01" value="4.17"></label>
    <output></output> <button>Show the loss</button>`;
  const slider = form.querySelector("input");
  const tell = () => {
    const guess = Number(slider.value);
    const among = Math.round(Math.exp(guess));
    slider.ariaValueText = `${guess.toFixed(2)} nats: as uncertain as a choice among ${among} characters`;
    form.querySelector("output").textContent = slider.ariaValueText;
  };
  slider.addEventListener("input", tell);
  tell();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const guess = Number(slider.value);
    const off = loss - guess;
    const said = document.createElement("p");
    said.className = "guess";
    said.tabIndex = -1; // the button is gone: the keyboard goes on from here, and a screen reader says it
    said.textContent =
      `You guessed ${guess.toFixed(2)}, and it is ${loss.toFixed(2)}: ` +
      (Math.abs(off) < 0.005 ? "exactly." : `${Math.abs(off).toFixed(2)} ${off > 0 ? "higher" : "lower"}.`);
    form.replaceWith(said);
    said.focus();
    reveal(answer);
  });
  question.after(form);
}
