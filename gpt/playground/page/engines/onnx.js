/**
 * The engine without a server: graphs that `play.py out=` has exported, computed by onnxruntime-web. The interface is
 * that of server.js. A seed gives different text from generate.py, whose random numbers are PyTorch's.
 *
 * @import { Engine, Model, Run, Tensors } from "./server.js"
 */

import { SentenceSubwords, tokenizer } from "../encoding.js";
import { continued, softmax, totalVariation, until } from "../predictions.js";
import { kept } from "../training/keeping.js";
import { advance } from "../training/order.js";
import { windowStarts } from "../windows.js";
import { asked, listen } from "./asking.js";
import { BEGIN, candidates, END } from "./beams.js";
import { random } from "./random.js";
import { byLayer, parseSafetensors } from "./tensors.js";

const TOKENS_PER_PASS = 4096;

/** @type {Record<string, Run>} */
const described = await (await fetch("runs.json")).json();

/** @type {Engine["runs"]} */
export async function runs() {
  const listed = Object.values(described);
  const chosen = listed.at(-1).id;
  for (const { run, weights } of await kept()) {
    if (!(run.trained.of in described)) continue; // the page has been written again, without it
    const { parts, switches, stride, longest_context } = described[run.trained.of]; // of the graphs as they are now
    described[run.id] = { ...run, parts, switches, stride, longest_context };
    held.set(run.id, weights);
  }
  return { chosen, runs: Object.values(described) };
}

/** @type {Engine["describe"]} */
export async function describe(id) {
  const weights = held.get(id);
  if (weights) await asked("hold", id, weights);
  held.delete(id);
  return described[id];
}

const held = new Map(); // the weights of trainings that were kept, until they are needed

/** @type {Engine["logits"]} As gpt/playground/inspect.py. */
export async function logits(model, ids, signal, off = []) {
  const known = off.length ? {} : await first(model, ids);
  if (`logits_${ids.length}` in known) return known[`logits_${ids.length}`];
  const { block_size: T, vocabulary_size: V } = described[model.run];
  const N = ids.length;
  const starts = windowStarts(N, described[model.run]);
  const all = new Float32Array(N * V);
  let filled = 0;
  const windows = Math.max(1, Math.floor(TOKENS_PER_PASS / T));
  for (let first = 0; first < starts.length; first += windows) {
    signal?.throwIfAborted();
    const some = starts.slice(first, first + windows);
    const rows = some.map((start) => ids.slice(start, start + T));
    const computed = (await predicted(model, rows, off)).data; // (windows, T, V)
    for (const [w, start] of some.entries()) {
      const length = rows[w].length;
      const from = filled - start;
      all.set(computed.subarray((w * length + from) * V, (w + 1) * length * V), filled * V);
      filled += length - from;
    }
  }
  return { shape: [N, V], data: all };
}

/** @type {Engine["attention"]} */
export async function attention(model, ids) {
  const { has_attention: hasAttention, block_size: T } = described[model.run];
  if (!hasAttention) return [];
  const known = byLayer(await first(model, ids));
  if (known[0]?.shape[1] === ids.length) return known;
  const outputs = await run(model, "with_attention", [ids.slice(-T)]);
  return byLayer(tensorsOf(outputs));
}

const firsts = new Map();

/**
 * Of a text with which the prompt that a run begins with ends, the tensors that static.py has computed; none of
 * another text, or at an earlier moment of the training.
 */
async function first({ run: id, moment }, ids) {
  if (moment !== null || described[id].trained) return {};
  if (!firsts.has(id)) firsts.set(id, stored(`${folder(id)}/first.safetensors`));
  const tensors = await firsts.get(id);
  const end = tensors.ids.data.slice(-ids.length);
  return end.length === ids.length && end.every((token, i) => token === ids[i]) ? tensors : {};
}

async function stored(file) {
  return parseSafetensors(await (await fetch(file)).arrayBuffer());
}

/** @returns {Tensors} The outputs of a graph for a single row of token ids. */
function tensorsOf(outputs) {
  const entries = Object.entries(outputs);
  return Object.fromEntries(entries.map(([name, { dims, data }]) => [name, { shape: dims.slice(1), data }]));
}

/** The logits for rows of token ids, with some parts turned off. */
async function predicted(/** @type {Model} */ model, rows, off) {
  if (!off.length) return (await run(model, "model", rows)).logits;
  const on = described[model.run].parts.map((part) => !off.includes(part));
  return (await run(model, "switched", rows, { on: ["bool", Uint8Array.from(on)] })).logits;
}

/** @type {Engine["inside"]} */
export async function inside(model, ids, row) {
  const outputs = await run(model, "inside", [ids], { row: ["int64", BigInt64Array.of(BigInt(row))] });
  return tensorsOf(outputs);
}

/** @type {Engine["interventions"]} */
export async function interventions(model, ids, signal) {
  const { parts, block_size: T, has_attention: hasAttention } = described[model.run];
  const heads = parts.filter((part) => /attention\.\d+$/.test(part));
  const { without_attention, moved, ids: known } = await first(model, ids);
  const isKnown = Math.min(known?.shape[0], T) === ids.length;
  /** @type {Tensors} */
  const found = {};
  if (heads.length) found.without_attention = isKnown ? without_attention : await last(model, ids.slice(-T), heads);
  if (!hasAttention) found.moved = isKnown ? moved : await movedBy(model, ids.slice(-T), signal);
  return found;
}

/** The logits after a window, with some parts turned off. */
async function last(/** @type {Model} */ model, window, off) {
  const { vocabulary_size: V } = described[model.run];
  const { data } = await predicted(model, [window], off);
  return { shape: [V], data: data.slice(data.length - V) };
}

/** How much of the probability is elsewhere if the run reads only the last 1, 2, ... tokens of a window. */
async function movedBy(model, window, signal) {
  const p = softmax((await last(model, window, [])).data);
  const data = [];
  for (let n = 1; n <= Math.min(window.length, described[model.run].longest_context); n++) {
    signal?.throwIfAborted();
    const shorter = softmax((await last(model, window.slice(-n), [])).data);
    data.push(totalVariation(p, shorter));
  }
  return { shape: [data.length], data: Float32Array.from(data) };
}

/** @type {Engine["write"]} */
export async function* write(model, prompt, options, signal) {
  const coder = tokenizer(described[model.run]);
  const ids = continuation(model, coder.encode(prompt), options, signal);
  yield* until(options.sampling.stop, coder.decode(ids));
}

async function* continuation(model, ids, options, signal) {
  const { block_size: T, vocabulary_size: V } = described[model.run];
  const predict = async (windows) => {
    const { data } = (await run(model, "model", windows)).logits;
    return [data.subarray(data.length - V)];
  };
  const texts = [{ ids, uniform: random(options.seed) }];
  let step = 0;
  for await (const [next] of continued(predict, texts, T, options.sampling)) {
    yield next;
    step += 1;
    if (step === options.tokens || signal?.aborted) return;
    if (step % 8 === 0) await new Promise((resolve) => setTimeout(resolve)); // let the browser draw the page
  }
}

/**
 * The outputs of a graph for rows of token ids and other inputs.
 * @param {Model} model
 * @param {Record<string, [type: string, data: Uint8Array | BigInt64Array]>} others
 * @returns {Promise<Record<string, {dims: number[], data: Float32Array}>>}
 */
async function run({ run: id, moment }, graph, rows, others = {}) {
  const given = Object.entries(others).map(([name, [type, data]]) => [name, { type, data, dims: [data.length] }]);
  const inputs = { idx: tensorOf(rows), ...Object.fromEntries(given) };
  return asked("compute", `${folder(id)}/${graph}.onnx`, weights(id, moment), inputs);
}

const folder = (id) => `graphs/${encodeURIComponent(described[id].trained?.of ?? id)}`;

/** The weights that the graphs of a run take as inputs; null if they are part of its graphs. */
function weights(id, moment) {
  const { trained, moments } = described[id];
  if (trained) return { training: id, moment };
  return moments.length ? { file: `${folder(id)}/weights/${moment ?? moments.at(-1)}.safetensors` } : null;
}

/** @type {Engine["translate"]} */
export async function translate(id, sentence, { beam, lengthPenalty }, signal) {
  const { example, block_size: T } = described[id];
  const isExample = example?.beam === beam && example.length_penalty === lengthPenalty;
  if (isExample && example.sentence === sentence) return example;
  const { shown } = new SentenceSubwords(described[id]);
  const source = sourceOf(id, sentence);
  if (source.length === 1)
    throw new Error("There is nothing to translate: type at least one word that the run can read.");
  if (source.length > T) throw new Error(`The sentence has ${source.length} subwords, the run reads ${T}.`);
  const predict = async (targets) => {
    signal?.throwIfAborted();
    const { dims, data } = (await pairs(id, source, targets)).logits; // (targets, time, vocabulary)
    const V = dims[2];
    const last = targets.map((target, k) =>
      data.subarray(((k + 1) * target.length - 1) * V, (k + 1) * target.length * V),
    );
    return { shape: [targets.length, V], data: Float32Array.from(last.flatMap((row) => Array.from(row))) };
  };
  const limit = Math.min(T, source.length + 50); // as in gpt/tasks/decoding/beam_search.py
  const found = await candidates(predict, { limit, beam, lengthPenalty });
  const tokens = (ids) => ids.map((token) => (token === END ? "end" : shown[token]));
  return { source: tokens(source), beams: found.map((one) => ({ ...one, tokens: tokens(one.ids) })) };
}

/** @type {Engine["crossAttention"]} */
export async function crossAttention(id, sentence, target) {
  const { example } = described[id];
  if (example?.sentence === sentence && `${example.beams[0].ids}` === `${target}`)
    return byLayer(await stored(`${folder(id)}/first.safetensors`));
  return byLayer(tensorsOf(await pairs(id, sourceOf(id, sentence), [[BEGIN, ...target]])));
}

const sourceOf = (id, sentence) => [...new SentenceSubwords(described[id]).encode(sentence), END];

/** The outputs of a translator's graph for one source and several targets of one length. */
function pairs(id, source, targets) {
  const target = tensorOf(targets);
  return asked("compute", `${folder(id)}/translator.onnx`, null, { idx: tensorOf(targets.map(() => source)), target });
}

const tensorOf = (/** @type {number[][]} */ rows) => ({
  type: "int64",
  data: BigInt64Array.from(rows.flat(), BigInt),
  dims: [rows.length, rows[0].length],
});

/** @type {Engine["prepare"]} */
export function prepare({ id }) {
  asked("prepare", folder(id)).catch(() => {}); // who trains then is told of a failure
}

/** @type {Engine["train"]} */
export async function train(base, text, settings, progressed) {
  const graphs = folder(base.id) + (settings.variant ? `/variants/${settings.variant}` : "");
  const made = await asked("begin", base, text, settings, graphs);
  const name = made.id;
  described[name] = made;
  listen(name, (progress) => {
    advance(made, progress);
    progressed(progress);
  });
  return {
    run: made,
    go: () => asked("go", name),
    pause: () => asked("pause", name),
    step: () => asked("step", name),
    weights: (moment) => asked("weights", name, moment),
    forget() {
      delete described[name];
      asked("forget", name);
    },
  };
}

// Load the engine when somebody touches the page: until then, `first` has all that it shows.
for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, () => asked("warm"), { once: true });
