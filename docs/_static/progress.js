/* Losses that would give a guess away are covered until it is made, in tables whose rows are stages. The table of the
   index is the reader's record: what was guessed, and what it turned out to be. */
const ASKED = ["v1", "v2", "v3", "v3_ffn", "v4", "v5", "v6", "v7"]; // the stages whose pages ask for their loss
const LOSSES = ["documented loss", "measured loss"]; // headings of columns

addEventListener("DOMContentLoaded", () => {
  const covers = [...document.querySelectorAll("article table")].flatMap(covered);
  if (!covers.length) return;
  const ladder = document.querySelector(".ladder table");
  const own = ladder ? recorded(ladder) : [];
  let isShown = false;
  const draw = () => {
    const { guesses, runs } = record.read();
    const isKnown = (stage) => isShown || Number.isFinite(guesses[stage]);
    for (const { stage, cover } of covers) cover(!isKnown(stage));
    for (const { stage, tell } of own) tell(guesses[stage], runs[stage]);
    const isAnyLeft = covers.some(({ stage }) => !Number.isFinite(guesses[stage]));
    lead.hidden = show.hidden = !isAnyLeft;
    show.textContent = isShown ? "Cover what I have not guessed" : "Show all losses";
    forget.hidden = !ladder || Object.keys(guesses).length + Object.keys(runs).length === 0;
  };
  const show = button(() => {
    isShown = !isShown;
    draw();
  });
  const forget = button(() => {
    if (!confirm("Forget all guesses and runs that this browser has kept?")) return;
    record.forget();
    draw();
    show.focus(); // the button that had the focus is gone
  });
  forget.textContent = "Forget my record";
  const lead = document.createElement("span");
  lead.textContent = "Losses are covered until you have guessed them.";
  const line = document.createElement("p");
  line.className = "record";
  line.append(lead, " ", show, " ", forget);
  covers[0].place.before(line);
  addEventListener("pageshow", draw); // also when the reader comes back from a page with a guess
  draw();
});

function button(onclick) {
  const made = document.createElement("button");
  made.className = "guess";
  made.addEventListener("click", onclick);
  return made;
}

/** The cells of a table that give a guess away. */
function covered(table) {
  const headings = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
  const columns = LOSSES.map((name) => headings.indexOf(name)).filter((column) => column > 0);
  return [...table.querySelectorAll("tbody tr")].flatMap((row) => {
    const stage = row.cells[0].textContent.trim();
    if (!ASKED.includes(stage)) return [];
    return columns.map((column) => hidden(row.cells[column], stage, table.closest(".table-wrapper") ?? table));
  });
}

function hidden(cell, stage, place) {
  const loss = document.createElement("div");
  loss.append(...cell.childNodes);
  const mark = document.createElement("p");
  mark.innerHTML = '<abbr title="covered until you have guessed it">?</abbr>';
  cell.append(loss, mark);
  const cover = (is) => {
    loss.hidden = is;
    mark.hidden = !is;
  };
  return { stage, cover, place };
}

/** Two more columns of the ladder's table. */
function recorded(table) {
  const [heads, ...rows] = [...table.rows];
  for (const [name, before] of [
    ["your guess", heads.cells[2]],
    ["your run", null],
  ]) {
    const heading = document.createElement("th");
    heading.className = "head";
    heading.textContent = name;
    heads.insertBefore(heading, before);
  }
  return rows.map((row) => {
    const link = row.cells[0].querySelector("a");
    const [guessed, trained] = [2, -1].map((column) => row.insertCell(column).appendChild(document.createElement("p")));
    const tell = (guess, run) => {
      const toGuess = document.createElement("a");
      toGuess.href = `${link.getAttribute("href").split("#")[0]}#the-loss`;
      toGuess.textContent = "guess";
      toGuess.ariaLabel = `guess the loss of ${link.textContent}`;
      guessed.replaceChildren(Number.isFinite(guess) ? guess.toFixed(2) : toGuess);
      trained.textContent = run ? record.told(run) : "none";
    };
    return { stage: link.textContent, tell };
  });
}
