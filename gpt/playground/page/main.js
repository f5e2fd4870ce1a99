/** The playground: one or two runs, one prompt. The engine is play.py, or onnxruntime-web if there is no server. */
/** @import { Engine, Run, RunInBrief } from "./engines/server.js" */
import { compare } from "./comparison.js";
import * as controls from "./controls.js";
import { button, debounced, element, isFirst, newest } from "./dom.js";
import { embed, listen } from "./embedded.js";
import { TextPanel } from "./panel.js";
import { PAYOFFS, payoff } from "./payoff.js";
import { connect as connectTheme } from "./theme.js";
import { TrainingCard } from "./training/card.js";
import { ServedTrainings } from "./training/served.js";
import { TranslatorPanel } from "./translator.js";

const SIDES = /** @type {const} */ (["a", "b"]);
const pickers = ["first", "second"].map((id) => /** @type {HTMLSelectElement} */ (document.getElementById(id)));

const asked = new URLSearchParams(location.search);
document.body.classList.toggle("first", asked.has("first"));
if (asked.has("embed")) embed();
/** @type {Engine} */
const engine = await import(`./engines/${document.documentElement.dataset.engine}.js`);
const choosing = newest();
/** @type {(TextPanel | TranslatorPanel)[]} */
let panels = [];
const trainingRoot = document.getElementById("training");
const training = engine.follow
  ? new ServedTrainings(trainingRoot, engine, { finished, opened })
  : new TrainingCard(trainingRoot, engine, { begun, ended });
/** @type {RunInBrief[]} */
let known = [];
/** @type {Map<string, Run>} */
const trainable = new Map(); // by id
/** @type {string[]} */
let stages = []; // that the server trains
let translates = false; // what the runs do
let suggested = ""; // the suggested prompt, until the reader types another
let given = new URLSearchParams(); // the prompt and the settings of the page's address, until they are used
const OPENED = ["at", "open", "layer", "head", "step", "off"];
/** @type {[string, string][]} */
let view = []; // what an address, or the page around a frame, wants to be shown: TextPanel.open

/** Make the panels of the chosen runs, and let them read the prompt. */
async function choose(signal) {
  const [first, second] = pickers.map((picker) => picker.value);
  stop();
  const runs = await Promise.all([...new Set([first, second].filter(Boolean))].map(engine.describe));
  if (signal.aborted) return;
  if (isFirst()) return offerTraining(runs[0]);
  const usable = runs.filter((run) => run.translates === runs[0].translates);
  panels = usable.map((run, i) =>
    run.translates
      ? new TranslatorPanel(engine, run, SIDES[i], shown)
      : new TextPanel(engine, run, SIDES[i], { select, scrub }),
  );
  offerSecond(runs[0], usable[1]?.id);
  controls.place(null); // not among the panels that go
  document.getElementById("panels").replaceChildren(...panels.map((panel) => panel.root));
  document.body.classList.toggle("beside", panels.length === 2);
  placeControls();
  document.querySelector("main > .payoff")?.remove();
  const front = fronted(panels[0]);
  // The colour of a stage; of one beside the ladder, what tokens.css has.
  const { style } = document.documentElement;
  style.setProperty("--accent", `var(--${front || runs[0].stage}, var(--v5))`);
  if (front in PAYOFFS) document.querySelector("main").prepend(payoff(front, engine, panels[0], trainable.values()));
  const units = new Set(usable.map((run) => run.token));
  controls.offer(
    runs[0].translates,
    Math.max(...usable.map((run) => run.vocabulary_size)),
    units.size === 1 ? runs[0].token : "token",
  );
  document.getElementById("go").hidden = runs[0].answers_only;
  const isOther = translates !== runs[0].translates;
  translates = runs[0].translates;
  controls.restore(given);
  if (given.has("prompt")) controls.setPrompt(given.get("prompt"));
  else if (isOther || ["", suggested].includes(controls.prompt()) || isForeign(controls.prompt())) {
    suggested = panels[0].run.prompt;
    controls.setPrompt(suggested);
  }
  open(given);
  given = new URLSearchParams();
  for (const panel of panels) panel.heading.redraw();
  offerTraining(panels[0].run);
  remember();
  await read();
  await reopen();
}

/** @param {Run | null} run */
function offerTraining(run) {
  if (training instanceof ServedTrainings) training.offer(run, stages);
  else training.offer(run, trainable);
}

/** The stage whose payoff a panel has in front of all else, if any. */
const fronted = (panel) =>
  asked.has("payoff") && panel instanceof TextPanel && (asked.get("payoff") || panel.run.stage);

/** Put the sliders beside the bars that they change; two runs that are side by side have them in common. */
function placeControls() {
  const isShared = panels.length === 2 && getComputedStyle(panels[0].root).display !== "contents";
  controls.place(panels[0] instanceof TextPanel && !isShared && !fronted(panels[0]) ? panels[0].shaping : null);
}

/** Stop generating. */
function stop() {
  for (const panel of panels) panel.stop();
}

/** Show the distributions under new settings. */
function shape() {
  for (const panel of panels) panel.shape(controls.options());
}

/** Redraw all pictures after a change of colours or width. */
function redraw() {
  placeControls();
  for (const panel of panels) panel.redraw();
}

/** Keep the runs, the prompt and the settings in the page's address, to reload or to share. */
function remember() {
  const kept = new URLSearchParams([...view, ...controls.settings()]);
  if (!["", suggested].includes(controls.prompt())) kept.set("prompt", controls.prompt());
  const ids = panels.map(({ run }) => run.trained?.of ?? run.id); // what is trained here is not there after a reload
  const parts = [[...new Set(ids)].join(","), ...(kept.size ? [kept] : [])];
  history.replaceState(null, "", `#${parts.join("&")}`);
}

/** Whether a text was meant for runs with another alphabet. */
function isForeign(text) {
  return panels[0].unknown(text).length > 2;
}

const edited = debounced(read, 50); // milliseconds

/** Before the prompt is used, say what is left out of it. */
function begin() {
  edited.cancel();
  controls.showFailure(null);
  controls.showUnknown([...new Set(panels.flatMap((panel) => panel.unknown(controls.prompt())))]);
}

async function read() {
  begin();
  await shown(all(panels.map((panel) => panel.read(controls.prompt(), controls.options()))));
  showComparison();
}

/** Take over what is to be shown; without anything new, it stays. */
function open(wanted) {
  const found = [...wanted].filter(([name]) => OPENED.includes(name));
  if (found.length) view = found;
}

/** Show what the page around the frame asks for. */
async function show(wanted) {
  open(wanted);
  if (wanted.has("prompt")) controls.setPrompt(wanted.get("prompt"));
  await read();
  await reopen();
}

async function reopen() {
  const texts = panels.filter((panel) => panel instanceof TextPanel);
  await shown(all(texts.map((panel) => panel.open(Object.fromEntries(view)))));
}

async function write() {
  if (!panels.length) return; // The runs are still loading.
  begin();
  if (!panels.every((panel) => panel.known(controls.prompt())))
    return controls.showFailure(new Error("Type at least one character that the run knows."));
  controls.showBusy(true);
  panels[0].reveal();
  await shown(all(panels.map((panel) => panel.write(controls.prompt(), controls.options()))));
  controls.showBusy(false);
  showComparison();
}

/** Select a token in the panel where it was chosen, and in the other one the token that begins or continues there. */
function select(/** @type {TextPanel} */ chosen, position) {
  const offset = chosen.offset(position);
  const texts = panels.filter((panel) => panel instanceof TextPanel);
  shown(all(texts.map((panel) => panel.select(panel === chosen ? position : panel.position(offset)))));
}

/** Show a run at another moment of its training. */
function scrub(/** @type {TextPanel} */ panel, moment) {
  return shown(panel.scrub(moment).then(showComparison));
}

/** Offer the run of a training that begins. While it runs, only its card is drawn, unless the reader chooses the run. */
function begun(run) {
  known.unshift(run);
  unseen = run;
  offer(pickers[0].value);
}

/** Offer a run that the server has finished; show it if it is the first one. */
async function finished(/** @type {RunInBrief} */ run) {
  if (isFirst()) return opened(run);
  known = (await engine.runs()).runs;
  offer(pickers[0].value);
  offerSecond(panels[0].run, pickers[1].value);
}

/** Show a run that the server has finished. */
async function opened(run) {
  known = (await engine.runs()).runs;
  offer(run.id);
  if (isFirst()) return lookInside();
  await choosing.run(choose);
  document.getElementById("panels").scrollIntoView();
}

const look = button("Look inside", "quiet", lookInside);

/** Show what the first screen leaves out. */
async function lookInside() {
  look.remove();
  document.body.classList.remove("first");
  await shown(choosing.run(choose));
}

/** @type {Run | null} */
let unseen = null; // of a training whose views have not been shown

/** Let the views of a run follow its training; whether there are any. */
function follow(run) {
  const views = panels.filter((panel) => panel instanceof TextPanel && panel.run === run);
  for (const view of /** @type {TextPanel[]} */ (views)) view.follow();
  return views.length > 0;
}

/** Show a run as its training, which has paused or ended, has made it; at the first time, in place of another. */
async function ended(run) {
  for (const option of document.querySelectorAll(`option[value="${run.id}"]`)) option.textContent = title(run);
  if (follow(run) || unseen !== run) return;
  unseen = null;
  offer(run.id);
  if (pickers[1].value === run.trained.of) pickers[1].value = "";
  await shown(choosing.run(choose));
}

function showComparison() {
  const root = document.getElementById("comparison");
  const [first, second] = panels;
  const isOfText = !panels.some(({ run }) => run.answers_only); // nobody needs to predict the rest of a line
  if (isOfText && first instanceof TextPanel && second instanceof TextPanel) compare(root, first, second);
  else root.hidden = true;
}

/** Wait for all tasks to end, then throw the first error, if any. */
async function all(work) {
  for (const ended of await Promise.allSettled(work)) if (ended.status === "rejected") throw ended.reason;
}

let pending = 0;

/** Wait for a task, and show its error in one line, if any. */
async function shown(work) {
  const main = document.querySelector("main");
  pending += 1;
  main.ariaBusy = "true";
  try {
    await work;
  } catch (error) {
    controls.showFailure(error);
  } finally {
    pending -= 1;
    main.ariaBusy = String(pending > 0);
  }
}

/** @param {RunInBrief} run */
function title(run) {
  const name = run.name ? ` ${run.name}` : "";
  const alike = known.filter(
    (other) => other.stage === run.stage && other.name === run.name && other.seed === run.seed,
  );
  const apart = alike.length > 1 ? `, ${run.finished.slice(0, 16).replace("T", " ")}` : "";
  const loss =
    run.loss === null ? "" : ` · ${run.loss.nats.toFixed(3)}${run.loss.how === "exact" ? "" : ` ${run.loss.how}`}`;
  const differing = run.differing ? ` · ${run.differing}` : "";
  return `${run.stage}${name}${loss} · seed ${run.seed}${differing}${apart}`;
}

/** Offer all runs as the first one. */
function offer(chosen) {
  pickers[0].replaceChildren(
    ...known.map((run) => element("option", { value: run.id, selected: run.id === chosen }, title(run))),
  );
}

/** @param {RunInBrief} first */
function offerSecond(first, chosen) {
  const offered = known.filter((run) => run.id !== first.id && run.translates === first.translates);
  pickers[1].replaceChildren(
    element("option", { value: "" }, "no other"),
    ...offered.map((run) => element("option", { value: run.id, selected: run.id === chosen }, title(run))),
  );
  pickers[1].disabled = offered.length === 0;
}

async function start() {
  const { chosen, runs, stages: offered } = await engine.runs();
  known = runs;
  stages = offered ?? [];
  for (const run of /** @type {Run[]} */ (runs)) {
    if (typeof run.training === "object" && !run.trained) trainable.set(run.id, run);
  }
  const [ids, ...rest] = location.hash.slice(1).split("&");
  given = new URLSearchParams(rest.join("&"));
  const wanted = ids.split(",").filter((id) => runs.some((run) => run.id === id));
  const first = wanted[0] ?? chosen;
  offer(first);
  if (!runs.length) document.body.classList.add("first");
  if (runs.length) {
    if (isFirst()) trainingRoot.querySelector(".foot").append(look);
    offerSecond(
      runs.find((run) => run.id === first),
      wanted[1],
    );
  }
  for (const picker of pickers) picker.addEventListener("change", () => shown(choosing.run(choose)));
  controls.connect({
    asked: write,
    stopped: stop,
    edited,
    moved: shape,
    changed: debounced(remember, 300), // browsers refuse to change the address more than a few times a second
  });
  const views = document.getElementById("panels");
  const catchUp = () => training instanceof TrainingCard && training.isGoing && follow(training.training.run);
  views.addEventListener("toggle", catchUp, { capture: true });
  addEventListener("hashchange", () => location.reload()); // a shared address, opened in this tab
  connectTheme(document.getElementById("theme"), redraw);
  addEventListener("resize", debounced(redraw, 150));
  if (runs.length) await choosing.run(choose);
  else offerTraining(null);
  listen(show);
}

await shown(start());
