/* "What do you expect?" before a loss: a slider, and what follows in the section only after a guess. Without a script,
   and where the Markdown is read, it is a question and its answer. */
addEventListener("DOMContentLoaded", () => {
  const page = location.pathname
    .split("/")
    .at(-1)
    .replace(/\.html$/, "");
  let asked = 0;
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
    if (answer.querySelector("figure.picture")) revealBehind(question, answer);
    if (!Number.isFinite(loss)) offer(question, answer);
    else {
      asked += 1;
      ask(question, answer, loss, asked === 1 ? page : `${page} ${asked}`);
    }
  }
});

function reveal(answer) {
  answer.hidden = false;
  dispatchEvent(new Event("resize")); // code that is wide can be measured only now
}

/* Pictures are there for those who read on without a guess, too: once the question is in the upper third of the window. */
function revealBehind(question, answer) {
  const passed = ([{ isIntersecting, boundingClientRect }], observer) => {
    if (isIntersecting || boundingClientRect.top > innerHeight / 3) return;
    observer.disconnect();
    reveal(answer);
    if (question.nextElementSibling?.matches("button.guess")) question.nextElementSibling.remove();
  };
  new IntersectionObserver(passed, { rootMargin: "-33% 0px 0px" }).observe(question);
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

function ask(question, answer, loss, name) {
  const said = document.createElement("p");
  said.className = "guess";
  const tell = (guess) => {
    const off = loss - guess;
    said.textContent =
      `You guessed ${guess.toFixed(2)}, and it is ${loss.toFixed(2)}: ` +
      (Math.abs(off) < 0.005 ? "exactly." : `${Math.abs(off).toFixed(2)} ${off > 0 ? "higher" : "lower"}.`);
    reveal(answer);
  };
  const before = record.read().guesses[name];
  if (Number.isFinite(before)) {
    question.after(said);
    tell(before);
    return;
  }
  const form = slider();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const guess = Number(form.querySelector("input").value);
    record.keep("guesses", name, guess);
    form.replaceWith(said);
    tell(guess);
    liveFrames().forEach(coverLosses);
    said.tabIndex = -1; // the button is gone: the keyboard goes on from here, and a screen reader says it
    said.focus();
  });
  question.after(form);
}

function slider() {
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
  return form;
}
