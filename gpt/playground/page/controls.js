/** The reader's input: the prompt and the settings. */
import { isEmbedded } from "./dom.js";

/** @type {(id: string) => any} An input, a button, or what shows a value. */
const at = (id) => document.getElementById(id);
const SETTINGS = ["temperature", "top-k", "top-p", "tokens", "seed", "beam", "length-penalty"];

/**
 * Calls `asked` to generate, `stopped` to stop, `edited` when the prompt changes, `moved` when the distribution's
 * settings change and `changed` after any change.
 */
export function connect({ asked, stopped, edited, moved, changed }) {
  at("controls").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!at("go").disabled) asked(); // Ctrl+Enter submits even while the button is disabled
  });
  at("stop").addEventListener("click", stopped);
  at("prompt").addEventListener("input", edited);
  at("controls").addEventListener("input", changed);
  at("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("controls").requestSubmit();
  });
  // A number that cannot be used is shown, though it may be folded away: the browser says what is wrong with it.
  at("others").addEventListener("invalid", () => at("others").setAttribute("open", ""), { capture: true });
  for (const id of ["temperature", "top-k", "top-p"]) {
    at(id).addEventListener("input", () => {
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

/**
 * The settings; null for those that are off.
 * @returns {import("./engines/server.js").Options}
 */
export function options() {
  const value = (id) => Number(at(id).value);
  return {
    temperature: value("temperature"),
    topK: value("top-k") === Number(at("top-k").max) ? null : value("top-k"),
    topP: value("top-p") === 1 ? null : value("top-p"),
    tokens: value("tokens"),
    seed: value("seed"),
    beam: value("beam"),
    lengthPenalty: value("length-penalty"),
  };
}

/** The settings that differ from the page's own, as [name, value]. */
export function settings() {
  const isOff = (id) => id === "top-k" && at(id).value === at(id).max;
  return SETTINGS.filter((id) => at(id).value !== at(id).defaultValue && !isOff(id)).map((id) => [id, at(id).value]);
}

/** Take settings over from a URLSearchParams, except impossible ones. */
export function restore(given) {
  for (const id of SETTINGS.filter((id) => given.has(id))) {
    at(id).value = given.get(id);
    if (!at(id).validity.valid) at(id).value = at(id).defaultValue;
  }
  showValues();
}

/** Show the settings for this kind of run; `vocabularySize` is the largest k, and a token is a `unit`. */
export function offer(translates, vocabularySize, unit) {
  for (const part of document.querySelectorAll(".for-text")) part.toggleAttribute("hidden", translates);
  document.querySelector(".for-translation").toggleAttribute("hidden", !translates);
  at("prompt-label").textContent = translates ? "Sentence" : "Prompt";
  at("tokens-label").textContent = `${unit[0].toUpperCase()}${unit.slice(1)}s`;
  at("go").textContent = translates ? "Translate" : "Generate";
  const wasOff = at("top-k").value === at("top-k").max;
  at("top-k").max = vocabularySize;
  if (wasOff) at("top-k").value = vocabularySize;
  showValues();
}

export function showBusy(isBusy) {
  at("stop").disabled = !isBusy;
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
  const { temperature, topK, topP } = options();
  const t = temperature === 0 ? "∞" : (1 / temperature).toFixed(2);
  at("temperature-value").textContent = temperature.toFixed(2);
  at("formula").textContent = `softmax(t · x), t = 1/T = ${t}`;
  at("top-k-value").textContent = topK ?? "off";
  at("top-p-value").textContent = topP === null ? "off" : topP.toFixed(2);
}
