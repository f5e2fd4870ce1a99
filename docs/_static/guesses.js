/* "What do you expect?" before a result: the numbers that answer it are covered until a guess, and all else can be read.
   Without a script, and where the Markdown is read, all is shown. */
addEventListener("DOMContentLoaded", () => {
  const page = location.pathname
    .split("/")
    .at(-1)
    .replace(/\.html$/, "");
  let asked = 0;
  for (const question of document.querySelectorAll("blockquote")) {
    if (question.querySelector("strong")?.textContent !== "What do you expect?") continue;
    const answer = [];
    for (let next = question.nextElementSibling; next && next.tagName !== "SECTION"; next = next.nextElementSibling) {
      answer.push(next);
    }
    const bold = answer.flatMap((part) => [...part.querySelectorAll("strong")]).find(isNumber);
    if (!bold) continue;
    const loss = Number.parseFloat(bold.textContent.replaceAll(",", ""));
    if (loss > 1 && loss < 4.17) ask(question, answer, loss, asked++ ? `${page} ${asked}` : page);
    else cover(question, answer, loss);
  }
});

function isNumber(strong) {
  return /^\d/.test(strong.textContent);
}

/** Cover bold numbers, what is near the loss, and how far it is from the numbers of the question. A press shows them. */
function cover(question, answer, loss, onShown = () => {}) {
  const known = question.textContent.match(/\d+\.\d+/g) ?? [];
  const telling = [loss, ...known.map((number) => Math.abs(number - loss))];
  const tells = (text) => /\.\d\d/.test(text) && telling.some((number) => Math.abs(number - text) < 0.015);
  const covers = answer.flatMap(texts).flatMap((text) => {
    const strong = text.parentElement.closest("strong");
    const isBold = strong && isNumber(strong);
    const parts = text.data
      .split(/(\d[\d,]*(?:\.\d+)?)/)
      .map((part, i) => (i % 2 && (isBold || tells(part)) ? markOver(part, reveal) : part));
    text.replaceWith(...parts);
    return parts.filter((part) => typeof part !== "string");
  });
  function reveal(pressed) {
    for (const mark of covers) {
      const number = document.createElement("span");
      number.textContent = mark.textContent;
      number.tabIndex = -1; // the button is gone: the keyboard goes on from here
      mark.replaceWith(number);
      if (mark === pressed) number.focus();
    }
    onShown();
  }
  return reveal;
}

/** The texts in an element whose numbers can be covered. */
function texts(element) {
  const [walker, found] = [document.createTreeWalker(element, NodeFilter.SHOW_TEXT), []];
  while (walker.nextNode()) {
    if (!walker.currentNode.parentElement.closest("svg, .math, script, style")) found.push(walker.currentNode);
  }
  return found;
}

function markOver(number, reveal) {
  const mark = document.createElement("button");
  mark.className = "guessed";
  mark.ariaLabel = "Show the answer";
  mark.innerHTML = `<span>${number}</span>`;
  mark.addEventListener("click", () => reveal(mark));
  return mark;
}

/* A slider for a loss. */
function ask(question, answer, loss, name) {
  const before = record.read().guesses[name];
  if (Number.isFinite(before)) {
    question.after(told(before, loss));
    return;
  }
  const form = document.createElement("form");
  form.className = "guess";
  form.innerHTML = `<label>Your guess <input type="range" min="1" max="4.17" step="0.01" value="4.17"></label>
    <output></output> <button>Show the loss</button>`;
  const input = form.querySelector("input");
  const tell = () => {
    const guess = Number(input.value);
    const among = Math.round(Math.exp(guess));
    input.ariaValueText = `${guess.toFixed(2)} nats: as uncertain as a choice among ${among} characters`;
    form.querySelector("output").textContent = input.ariaValueText;
  };
  input.addEventListener("input", tell);
  tell();
  question.after(form);
  const reveal = cover(question, answer, loss, () => form.remove());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    record.keep("guesses", name, Number(input.value));
    const said = told(Number(input.value), loss);
    form.before(said);
    reveal();
    said.focus(); // and a screen reader says it
  });
}

function told(guess, loss) {
  const off = loss - guess;
  const said = document.createElement("p");
  said.className = "guess";
  said.tabIndex = -1;
  said.textContent =
    `You guessed ${guess.toFixed(2)}, and it is ${loss.toFixed(2)}: ` +
    (Math.abs(off) < 0.005 ? "exactly." : `${Math.abs(off).toFixed(2)} ${off > 0 ? "higher" : "lower"}.`);
  return said;
}
