/**
 * The engine that queries play.py, and what every engine does.
 *
 * @typedef {{shape: number[], data: Float32Array}} Tensor
 * @typedef {Record<string, Tensor>} Tensors By name.
 *
 * A run as it was after `moment` iterations, one of its `moments`, or with the weights that it is shown with if that is
 * null.
 * @typedef {{run: string, moment: number | null}} Model
 *
 * A run in brief, as gpt/playground/describe.py describes it; `loss` is its loss in nats per `unit`.
 * @typedef {{
 *   id: string, stage: string, name: string, seed: number, differing: string, folder: string,
 *   loss: {nats: number, unit: string, how: string} | null, translates: boolean, finished: string,
 * }} RunInBrief
 *
 * A loss of a run in nats per `unit`; `kind` says how it was measured. Null: there is none.
 * @typedef {{name: string, nats: number | null, unit: string, kind: string}} Loss
 *
 * The documented run of a run's stage: its validation loss, if that is known, and its settings. A run's own loss can be
 * compared with it if nothing is `changed`, as key=value.
 * @typedef {{val: number | null, settings: Record<string, number>}} Documented
 *
 * What gpt/inspection/dataflow.py says of a part of the forward pass in the picture of a run, and of a row of them.
 * @typedef {{name: string, label: string, since: string | null, note: string, code: string}} Part
 * @typedef {{
 *   parts: Part[], shape: string, block: Part | null, branch: string, begins_branch: boolean, sum: Part | null,
 * }} Row
 *
 * A run in full. What is null or empty is not known, or not of this task. If `answers_only`, it has learned to predict
 * the answers of its lines, and nothing of what stands before them.
 * @typedef {RunInBrief & {
 *   adds: string, parameters: number, iterations: number, block_size: number, stride: number,
 *   longest_context: number, weights: string, contains_text: boolean,
 *   token: string, vocabulary: string[] | null, vocabulary_size: number, prompt: string, changed: string[],
 *   tokenizer: {kind: string, vocabulary?: string[], merges?: [string, string][]} | null,
 *   opens: boolean, parts: string[], switches: Record<string, Record<string, string[]>>, has_attention?: boolean,
 *   moments: number[], flow: Row[],
 *   losses: Loss[], documented: Documented | null, answers_only: boolean, curve: Estimate[],
 *   training?: Offered | string, variants?: string[],
 *   example?: {sentence: string, beam: number, length_penalty: number, source: string[], beams: Beam[]},
 *   texts?: Written[],
 *   trained?: {of: string, iteration: number, text: string, isDocumented: boolean, beside: Estimate[],
 *     batches: {iteration: number, loss: number}[], kept: boolean},
 * }} Run
 *
 * How a run's stage is trained in the page if the reader changes nothing; a string says why it cannot be. `trained` is
 * of a run that was: the run whose stage it has, how far it is, its text, and the estimates to compare it with.
 * @typedef {{
 *   learning_rate: number, batch_size: number, max_iters: number, eval_iters: number, optimizer: string,
 * }} Offered What a run was trained with.
 * @typedef {{iteration: number, train: number, val: number, accuracy?: number}} Estimate `accuracy` is the share of lines
 *   that are answered right.
 *
 * What a run wrote after so many iterations: at 0, 1, 2, 5, 10, 20, ... and at the last one, in this order.
 * @typedef {{iteration: number, text: string}} Written
 *
 * The options of sampling, as SamplingConfig in gpt/config/command_schemas.py declares them; null for those that are off.
 * @typedef {{repetition_penalty?: number | null, stop?: string | null} & Record<string, any>} Sampling
 *
 * The reader's settings.
 * @typedef {{sampling: Sampling, tokens: number, seed: number, beam: number, lengthPenalty: number}} Options
 *
 * @typedef {{score: number, ids: number[], tokens: string[], ended: boolean}} Beam
 *
 * An AbortSignal cancels a request that is no longer needed. A failed request throws an Error with a one-line message.
 * @typedef {object} Engine
 * @property {() => Promise<{chosen: string | null, runs: RunInBrief[], stages?: string[]}>} runs Every run, and the one to
 *   show first; and the stages that can be trained.
 * @property {(id: string) => Promise<Run>} describe
 * @property {(model: Model, ids: number[], signal?: AbortSignal, off?: string[]) => Promise<Tensor>} logits
 *   [N, V]: the prediction after each of N tokens, with some of the run's `parts` turned off.
 * @property {(model: Model, ids: number[], row: number, signal?: AbortSignal) => Promise<Tensors>} inside
 *   The tensors of the forward pass over a window, for its token at `row`, as gpt/inspection/parts.py names them.
 * @property {(model: Model, ids: number[], signal?: AbortSignal) => Promise<Tensor[]>} attention
 *   [H, T, T] for each layer, of the last window.
 * @property {(model: Model, ids: number[], signal?: AbortSignal) => Promise<Tensors>} interventions
 *   The logits after the last window with parts of the run turned off, or what changes with less text, as
 *   gpt/playground/inspect.py names them.
 * @property {(model: Model, prompt: string, options: Options, signal?: AbortSignal) => AsyncIterable<string>} write
 *   The continuation, piece by piece.
 * @property {(run: string, sentence: string, options: Options, signal?: AbortSignal) =>
 *   Promise<{source: string[], beams: Beam[]}>} translate
 * @property {(run: string, sentence: string, target: number[], signal?: AbortSignal) =>
 *   Promise<Tensor[]>} crossAttention [H, T, S] for each layer.
 * @property {(stage: string, text: Text, chosen: Chosen, settings: string) => Promise<string>} [begin]
 *   Train with train.py, and with more `settings` as on its command line; answers with the training's id.
 * @property {(id: string, to: "pause" | "resume") => Promise<void>} [change]
 * @property {(told: (trainings: Served[]) => void) => void} [follow] Tell of all trainings whenever one has changed.
 * @property {(base: Run) => void} [prepare] Load what a training of a run's stage begins with.
 * @property {(base: Run, text: Text, chosen: Chosen, progressed: (progress: Progress) => void) =>
 *   Promise<InTraining>} [train] Prepare a training of a run's stage.
 *
 * A training of train.py, in its folder.
 * @typedef {{
 *   id: string, stage: string, failure: string,
 *   state: "queued" | "training" | "paused" | "killed" | "diverged" | "pruned" | "failed" | "finished",
 *   folder: string, is_own: boolean, iteration: number, iterations: number | null, curve: Estimate[], texts: Written[],
 *   documented: Documented | null, changed: string[], corpus: string,
 * }} Served
 *
 * A training, and the run that it makes, which follows it.
 * @typedef {{
 *   run: Run, go: () => Promise<void>, pause: () => Promise<void>, step: () => Promise<void>,
 *   weights: (moment: number | null) => Promise<Tensors | undefined>, forget: () => void,
 * }} InTraining
 *
 * @import { Chosen, Text } from "../training/order.js"
 * @import { Progress } from "../training/work.js"
 */
import { byLayer, parseSafetensors } from "./tensors.js";

/** @type {Engine["runs"]} */
export const runs = () => get("api/runs");

/** @type {Engine["describe"]} */
export const describe = (id) => get(`api/runs/${encodeURIComponent(id)}`);

/** @type {Engine["logits"]} */
export async function logits(model, ids, signal, off = []) {
  return (await tensors("api/logits", { ...model, ids, off }, signal)).logits;
}

/** @type {Engine["inside"]} */
export const inside = (model, ids, row, signal) => tensors("api/inside", { ...model, ids, row }, signal);

/** @type {Engine["attention"]} */
export async function attention(model, ids, signal) {
  return byLayer(await tensors("api/attention", { ...model, ids }, signal));
}

/** @type {Engine["interventions"]} */
export const interventions = (model, ids, signal) => tensors("api/interventions", { ...model, ids }, signal);

/** @type {Engine["write"]} */
export async function* write(model, prompt, options, signal) {
  const { sampling, tokens, seed } = options;
  const response = await post("api/text", { ...model, prompt, tokens, seed, ...sampling }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream("utf-8", { ignoreBOM: true })).getReader();
  for (;;) {
    const { done, value } = await reader.read().catch(explained);
    if (done) return;
    yield value;
  }
}

/** @type {Engine["translate"]} */
export async function translate(run, sentence, { beam, lengthPenalty }, signal) {
  return (await post("api/translations", { run, sentence, beam, length_penalty: lengthPenalty }, signal)).json();
}

/** @type {Engine["crossAttention"]} */
export async function crossAttention(run, sentence, target, signal) {
  return byLayer(await tensors("api/cross_attention", { run, sentence, target }, signal));
}

/** @type {Engine["begin"]} */
export async function begin(stage, text, { learningRate, batchSize, iterations, seed }, more) {
  const interval = iterations === null ? null : Math.max(1, Math.ceil(iterations / 10));
  const given = {
    "training.max_iters": iterations,
    "training.batch_size": batchSize,
    "training.learning_rate": learningRate,
    "training.eval_interval": interval,
    "training.sample_interval": 1, // evaluation
    seed,
  };
  const words = Object.entries(given).filter(([, value]) => value !== null);
  const settings = [...words.map((word) => word.join("=")), more].join(" "); // `more` has the last word
  const asked = { stage, settings, text: text.isDocumented ? null : text.content, name: text.file ?? text.name };
  return (await (await post("api/trainings", asked)).json()).id;
}

/** @type {Engine["change"]} */
export async function change(id, to) {
  await post(`api/trainings/${encodeURIComponent(id)}`, { to });
}

/** @type {Engine["follow"]} */
export function follow(told) {
  new EventSource("api/trainings").onmessage = ({ data }) => told(JSON.parse(data));
}

async function get(path) {
  return (await answered(fetch(path))).json();
}

function post(path, asked, signal) {
  const headers = { "content-type": "application/json" };
  return answered(fetch(path, { method: "POST", headers, body: JSON.stringify(asked), signal }));
}

async function tensors(path, asked, signal) {
  return parseSafetensors(await (await post(path, asked, signal)).arrayBuffer());
}

async function answered(request) {
  const response = await request.catch(explained);
  if (response.ok) return response;
  const failure = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  throw new Error(failure.error);
}

function explained(error) {
  if (error.name === "AbortError") throw error;
  throw new Error("play.py no longer responds: start it again, then reload this page");
}
