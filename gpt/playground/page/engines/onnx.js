/**
 * The engine without a server: graphs that `play.py out=` has exported, computed by onnxruntime-web. The interface is
 * that of server.js, without translation. A seed gives different text from generate.py, whose random numbers are
 * PyTorch's.
 *
 * @import { Engine, Model, Run, Tensors } from "./server.js"
 */
import { choose, softmax, totalVariation } from "../predictions.js";
import { tokenizer } from "../tokenizer.js";
import { windowStarts } from "../windows.js";
import { random } from "./random.js";
import { byLayer, parseSafetensors } from "./tensors.js";

const TOKENS_PER_PASS = 4096;
const SHORTEST = 64; // contexts that are tried, at most, as in gpt/playground/intervening.py
const MOST_LOADED = 64; // moments of runs, at most 2 MB each

/** @type {Record<string, Run>} */
const described = await (await fetch("runs.json")).json();
const sessions = new Map();
const loaded = new Map(); // the weights of moments

/** @type {Engine["runs"]} */
export async function runs() {
  const listed = Object.values(described);
  return { chosen: listed.at(-1).id, runs: listed };
}

/** @type {Engine["describe"]} */
export async function describe(id) {
  return described[id];
}

/**
 * As gpt/playground/looking.py: windows that advance by an eighth of their length.
 * @type {Engine["logits"]}
 */
export async function logits(model, ids, signal, off = []) {
  const known = off.length ? {} : await first(model, ids);
  if (`logits_${ids.length}` in known) return known[`logits_${ids.length}`];
  const { block_size: T, vocabulary_size: V } = described[model.run];
  const N = ids.length;
  const starts = windowStarts(N, T);
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
  if (moment !== null) return {};
  if (!firsts.has(id)) firsts.set(id, stored(`${folder(id)}/first.safetensors`));
  const tensors = await firsts.get(id);
  const end = tensors.ids.data.slice(-ids.length);
  return end.length === ids.length && end.every((token, i) => token === ids[i]) ? tensors : {};
}

async function stored(file) {
  return parseSafetensors(await (await fetch(file)).arrayBuffer());
}

/**
 * The outputs of a graph for a single row of token ids.
 * @returns {Tensors}
 */
function tensorsOf(outputs) {
  const entries = Object.entries(outputs);
  return Object.fromEntries(entries.map(([name, { dims, data }]) => [name, { shape: dims.slice(1), data }]));
}

/**
 * The logits for rows of token ids, with some parts turned off.
 * @param {Model} model
 */
async function predicted(model, rows, off) {
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

/**
 * The logits after a window, with some parts turned off.
 * @param {Model} model
 */
async function last(model, window, off) {
  const { vocabulary_size: V } = described[model.run];
  const { data } = await predicted(model, [window], off);
  return { shape: [V], data: data.slice(data.length - V) };
}

/** How much of the probability is elsewhere if the run reads only the last 1, 2, ... tokens of a window. */
async function movedBy(model, window, signal) {
  const p = softmax((await last(model, window, [])).data);
  const data = [];
  for (let n = 1; n <= Math.min(window.length, SHORTEST); n++) {
    signal?.throwIfAborted();
    const shorter = softmax((await last(model, window.slice(-n), [])).data);
    data.push(totalVariation(p, shorter));
  }
  return { shape: [data.length], data: Float32Array.from(data) };
}

/** @type {Engine["write"]} */
export async function* write(model, prompt, options, signal) {
  const coder = tokenizer(described[model.run]);
  yield* coder.decode(continuation(model, coder.encode(prompt), options, signal));
}

async function* continuation(model, ids, options, signal) {
  const { block_size: T, vocabulary_size: V } = described[model.run];
  const uniform = random(options.seed);
  for (let step = 0; step < options.tokens && !signal?.aborted; step++) {
    const window = ids.slice(-T);
    const { data } = (await run(model, "model", [window])).logits;
    const next = choose(data.subarray((window.length - 1) * V), uniform(), options);
    ids.push(next);
    yield next;
    if (step % 8 === 7) await new Promise((resolve) => setTimeout(resolve)); // let the browser draw the page
  }
}

/**
 * The outputs of a graph for rows of token ids and other inputs.
 * @param {Model} model
 * @param {Record<string, [type: string, data: Uint8Array | BigInt64Array]>} others
 * @returns {Promise<Record<string, {dims: number[], data: Float32Array}>>}
 */
async function run(model, graph, rows, others = {}) {
  const ort = await runtime();
  const key = `${folder(model.run)}/${graph}.onnx`;
  if (!sessions.has(key)) sessions.set(key, ort.InferenceSession.create(new URL(key, document.baseURI).href));
  const session = await sessions.get(key);
  const weights = await weightsOf(model, ort);
  const idx = new ort.Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
  const given = Object.entries(others).map(([name, [type, data]]) => [name, new ort.Tensor(type, data, [data.length])]);
  return exclusively(() => session.run({ idx, ...Object.fromEntries(given), ...weights }));
}

const folder = (id) => `graphs/${encodeURIComponent(id)}`;

/** The weights that the graphs of a run take as inputs; none if they are part of its graphs. */
async function weightsOf({ run: id, moment }, ort) {
  const last = described[id].moments.at(-1);
  if (last === undefined) return {};
  const key = `${folder(id)}/weights/${moment ?? last}.safetensors`;
  const found = loaded.get(key) ?? load(key, ort);
  loaded.delete(key); // so that the one used last comes last
  loaded.set(key, found);
  if (loaded.size > MOST_LOADED) loaded.delete(loaded.keys().next().value);
  return found.catch((error) => {
    loaded.delete(key);
    throw error;
  });
}

async function load(key, ort) {
  const response = await fetch(new URL(key, document.baseURI));
  if (!response.ok) throw new Error(`${key} could not be loaded: ${response.status}`);
  try {
    const tensors = Object.entries(parseSafetensors(await response.arrayBuffer()));
    return Object.fromEntries(tensors.map(([name, { shape, data }]) => [name, new ort.Tensor("float32", data, shape)]));
  } catch {
    throw new Error(`${key} is damaged: load the page again`);
  }
}

// Load the engine when somebody touches the page: until then, `first` has all that it shows.
for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, runtime, { once: true });

let runtimeLoaded = null;

function runtime() {
  // @ts-expect-error: static.py writes it there
  const loading = import("../ort/ort.wasm.bundle.min.mjs");
  runtimeLoaded ??= Promise.all([loading, unzipped()]).then(([ort, wasm]) => {
    ort.env.wasm.numThreads = 1; // more threads need headers that few static hosts send
    ort.env.wasm.wasmBinary = wasm;
    return ort;
  });
  return runtimeLoaded;
}

async function unzipped() {
  const { body } = await fetch(new URL("ort/ort-wasm-simd-threaded.wasm.gz", document.baseURI));
  return new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** @type {Promise<unknown>} */
let queue = Promise.resolve();

/**
 * Run computations one at a time: a session refuses a second one.
 * @template Result
 * @param {() => Promise<Result>} compute
 */
function exclusively(compute) {
  const result = queue.then(compute);
  queue = result.catch(() => {});
  return result;
}
