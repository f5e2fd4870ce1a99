/* The reader's own run among the dots of the seeds: pasted, dropped, or trained in the page. */
addEventListener("DOMContentLoaded", () => {
  /** @type {NodeListOf<HTMLElement>} */
  const figures = document.querySelectorAll("figure.seeds");
  for (const figure of figures) {
    figure.append(offerOwn(figure));
    drawOwn(figure);
  }
});

/* A live stage tells the loss of a training that has finished. */
addEventListener("message", ({ source, data }) => {
  const trained = data?.trained;
  if (!trained || !liveFrames().some((frame) => frame.contentWindow === source)) return;
  for (const figure of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("figure.seeds"))) {
    const { stage, loss, seed, changed } = trained;
    if (stage !== figure.dataset.stage || !Number.isFinite(loss)) continue;
    keepOwn(figure, { loss, isExact: false, seed: Number(seed), changed: [...changed].map(String) });
  }
});

/** A field for a run of train.py. */
function offerOwn(figure) {
  const field = document.createElement("details");
  field.innerHTML = `<summary>Add your own run</summary>
    <label>Paste the <code>summary.json</code> of its folder, or drop the file here
    <textarea rows="3" spellcheck="false"></textarea></label><p class="failure" role="alert"></p>`;
  const area = field.querySelector("textarea");
  const add = (text) => {
    const { run, why } = readOwn(text, figure.dataset.stage);
    field.querySelector(".failure").textContent = why ?? "";
    if (!run) return;
    area.value = "";
    field.open = false;
    keepOwn(figure, run);
  };
  area.addEventListener("input", () => add(area.value));
  area.addEventListener("drop", async (event) => {
    const [file] = event.dataTransfer.files;
    if (!file) return; // a text, which is pasted
    event.preventDefault();
    add(await file.text());
  });
  return field;
}

/**
 * A summary.json as a run, or why it is none of this stage.
 * @returns {{run?: OwnRun, why?: string}}
 */
function readOwn(text, stage) {
  if (!text.trim()) return {};
  let summary;
  try {
    summary = JSON.parse(text);
  } catch {
    return { why: "This is not JSON: paste the whole file." };
  }
  const { exact, seed, changed } = summary ?? {};
  if (!Number.isFinite(exact?.nats) || !Number.isInteger(seed) || !Array.isArray(changed)) {
    return { why: "This is not the summary.json of a run: it has no exact loss, seed or list of changes." };
  }
  if (summary.stage !== stage) return { why: `This is a run of ${summary.stage}, and the picture is about ${stage}.` };
  const other = changed.filter((change) => !String(change).startsWith("training."));
  if (summary.parent) other.push("init");
  if (other.length) return { why: `Its loss cannot be compared with these: it was trained with ${other.join(", ")}.` };
  return { run: { loss: exact.nats, isExact: true, seed, changed: changed.map(String) } };
}

function keepOwn(figure, run) {
  record.keep("runs", figure.dataset.stage, run);
  drawOwn(figure);
}

/** Mark the reader's run, if there is one, and tell it in words. */
function drawOwn(figure) {
  const run = record.read().runs[figure.dataset.stage];
  if (!Number.isFinite(run?.loss)) return;
  for (const drawn of figure.querySelectorAll(".yours")) drawn.remove();
  const [low, high, margin] = ["low", "high", "margin"].map((name) => Number(figure.dataset[name]));
  const place = margin + ((100 - 2 * margin) * (run.loss - low)) / (high - low);
  const isBeyond = place < 0 || place > 100;
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const attributes = {
    class: "yours",
    overflow: "visible",
    x: `${Math.min(Math.max(place, 1), 99)}%`,
    y: figure.dataset.y,
  };
  for (const [name, value] of Object.entries(attributes)) mark.setAttribute(name, value);
  mark.innerHTML = '<path d="M0 6 7 17-7 17Z"/>';
  figure.querySelector("svg").append(mark);
  const said = document.createElement("p");
  said.className = "yours";
  said.role = "status";
  said.textContent = `▲ Yours: ${record.told(run)}${isBeyond ? ", beyond the axis" : ""}`;
  figure.querySelector("figcaption").append(said);
}
