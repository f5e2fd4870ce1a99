/** The reader's input: the prompt and the settings. */
import { element, isEmbedded } from "./dom.js";

/** @type {(id: string) => any} An input, a button, or what shows a value. */
const at = (id) => document.getElementById(id);

/**
 * An option of sampling and its control, as gpt/playground/assets.py takes them from SamplingConfig: a field for text if
 * there is no `step`. A `high` or `neutral` of null is the size of the vocabulary.
 * @typedef {{
 *   name: string, help: string, default: number | null, label: string, folded: boolean, low?: number,
 *   high?: number | null, step?: number, neutral?: number | null,
 * }} Option
 *
 * @type {{sampling: Option[], limits: Record<string, object>}}
 */
const { sampling: offered, limits } = await (await fetch("controls.json")).json();
const idOf = ({ name }) => name.replaceAll("_", "-");
const SETTINGS = [...offered.map(idOf), "tokens", "seed", "beam", "length-penalty"];

for (const option of offered) {
  const { label, help, folded, low, high, step, neutral } = option;
  const id = idOf(option);
  const slider = { type: "range", min: low, max: high ?? low + 1, step, value: neutral ?? low + 1 };
  const part = element(
    "label",
    { class: "slider stack", for: id, title: help },
    element("span", { class: "row" }, label, element("output", { id: `${id}-value` })),
    element("input", { id, ...(step ? slider : { type: "text", spellcheck: "false" }) }),
  );
  if (folded) at("rare").append(part);
  else at("rare").before(part);
}
at("temperature").parentElement.after(at("formula"));
for (const [id, limit] of Object.entries(limits)) Object.assign(at(id), limit);

/** The value of an option; its default at the neutral position. */
function chosen(option) {
  const { value, max } = at(idOf(option));
  if (!option.step) return value.replace(/\\([nrt\\])/g, (_, c) => ESCAPES[c]) || option.default;
  return Number(value) === (option.neutral ?? Number(max)) ? option.default : Number(value);
}

const ESCAPES = { n: "\n", r: "\r", t: "\t", "\\": "\\" }; // as in gpt/config/values.py

/**
 * Calls `asked` to generate, `stopped` to stop, `edited` when the prompt changes, `moved` when the distribution's
 * settings change and `changed` after any change.
 */
export function connect({ asked, stopped, edited, moved, changed }) {
  at("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!at("go").disabled) asked(); // Ctrl+Enter submits even while the button is disabled
  });
  at("halt").addEventListener("click", stopped);
  at("prompt").addEventListener("input", edited);
  at("controls").addEventListener("input", changed);
  at("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("controls").requestSubmit();
  });
  // A number that cannot be used is shown, though it may be folded away: the browser says what is wrong with it.
  at("others").addEventListener("invalid", () => at("others").setAttribute("open", ""), { capture: true });
  for (const option of offered) {
    at(idOf(option)).addEventListener("input", () => {
      showValues();
      moved();
      changed(); // they may be outside the form: see `place`
    });
  }
}

/**
 * Put the sliders that shape a distribution beside its bars, into this element of the page; or below the prompt, where
 * they are folded away in a frame.
 */
export function place(beside) {
  const parent = beside ?? at(isEmbedded() ? "others" : "controls");
  if (at("shaping").parentElement === parent) return; // or a slider in use would let go
  if (parent === at("controls")) at("others").before(at("shaping"));
  else parent.append(at("shaping"));
}

export const prompt = () => at("prompt").value;

export function setPrompt(text) {
  at("prompt").value = text.slice(0, at("prompt").maxLength);
}

/** @returns {import("./engines/server.js").Options} The settings. */
export function options() {
  const value = (id) => Number(at(id).value);
  return {
    sampling: Object.fromEntries(offered.map((option) => [option.name, chosen(option)])),
    tokens: value("tokens"),
    seed: value("seed"),
    beam: value("beam"),
    lengthPenalty: value("length-penalty"),
  };
}

/** The settings that differ from the page's own, as [name, value]. */
export function settings() {
  const off = offered.filter((option) => chosen(option) === option.default).map(idOf);
  const changed = SETTINGS.filter((id) => at(id).value !== at(id).defaultValue && !off.includes(id));
  return changed.map((id) => [id, at(id).value]);
}

/** Take settings over from a URLSearchParams, except impossible ones. */
export function restore(given) {
  for (const id of SETTINGS.filter((id) => given.has(id))) {
    at(id).value = given.get(id);
    if (!at(id).validity.valid) at(id).value = at(id).defaultValue;
  }
  if (offered.some((option) => option.folded && chosen(option) !== option.default)) at("rare").setAttribute("open", "");
  showValues();
}

/** Show the settings for this kind of run, whose tokens are `unit`s. */
export function offer(translates, vocabularySize, unit) {
  for (const part of document.querySelectorAll(".for-text")) part.toggleAttribute("hidden", translates);
  document.querySelector(".for-translation").toggleAttribute("hidden", !translates);
  at("prompt-label").textContent = translates ? "Sentence" : "Prompt";
  at("tokens-label").textContent = `${unit[0].toUpperCase()}${unit.slice(1)}s`;
  at("go").textContent = translates ? "Translate" : "Generate";
  for (const slider of offered.filter(({ high }) => high === null).map((option) => at(idOf(option)))) {
    const wasOff = slider.value === slider.max;
    slider.max = vocabularySize;
    if (wasOff) slider.value = vocabularySize;
  }
  showValues();
}

export function showBusy(isBusy) {
  at("halt").hidden = !isBusy;
  at("go").disabled = isBusy;
}

export function showFailure(error) {
  at("failure").textContent = error ? error.message : "";
}

export function showUnknown(characters) {
  at("unknown").textContent = characters.length
    ? `Left out, because the run's vocabulary lacks them: ${characters.join(" ")}`
    : "";
}

function showValues() {
  for (const option of offered.filter(({ step }) => step)) {
    at(`${idOf(option)}-value`).textContent = chosen(option)?.toFixed(option.step < 1 ? 2 : 0) ?? "off";
  }
  const { temperature } = options().sampling;
  const t = temperature === 0 ? "∞" : (1 / temperature).toFixed(2);
  at("formula").textContent = `softmax(t · x), t = 1/T = ${t}`;
}
