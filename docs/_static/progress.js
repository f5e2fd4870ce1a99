/* Losses that would give a guess away are covered until it is made: on the ladder, and in tables whose rows are
   stages. The ladder is the reader's record: what was guessed, and what it turned out to be. */
const ASKED = ["v1", "v2", "v3", "v3_ffn", "v4", "v5", "v6", "v7"]; // the stages whose pages ask for their loss
const LOSSES = ["documented loss", "measured loss"]; // headings of columns

addEventListener("DOMContentLoaded", () => {
  const covers = [...document.querySelectorAll("article table")].flatMap(covered);
  const ladder = document.querySelector(".ladder");
  const rungs = [...(ladder?.querySelectorAll("a") ?? [])].map((row) => ({ row, stage: row.children[0].textContent }));
  for (const { row, stage } of rungs)
    if (ASKED.includes(stage)) covers.push(hidden(row.children[2], stage, ladder, "guess"));
  if (!covers.length) return;
  let isShown = false;
  const draw = () => {
    const { guesses, runs } = record.read();
    const isKnown = (stage) => isShown || Number.isFinite(guesses[stage]);
    for (const { stage, cover } of covers) cover(!isKnown(stage));
    for (const { row, stage } of rungs) tell(row, guesses[stage], runs[stage]);
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
  if (ladder) ladder.append(line);
  else covers[0].place.before(line);
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

function hidden(cell, stage, place, sign = '<abbr title="covered until you have guessed it">?</abbr>') {
  const loss = document.createElement("div");
  loss.append(...cell.childNodes);
  const mark = document.createElement("p");
  mark.innerHTML = sign;
  cell.append(loss, mark);
  const cover = (is) => {
    loss.hidden = is;
    mark.hidden = !is;
  };
  return { stage, cover, place };
}

/** What the reader has guessed and trained, in the row of a stage. */
function tell(row, guess, run) {
  row.querySelector("small")?.remove();
  const said = [Number.isFinite(guess) && `you guessed ${guess.toFixed(2)}`, run && `your run ${record.told(run)}`];
  const note = document.createElement("small");
  note.textContent = said.filter(Boolean).join("; ");
  if (note.textContent) row.append(note);
}
