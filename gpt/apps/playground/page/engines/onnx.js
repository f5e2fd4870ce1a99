/**
 * The engine without a server: graphs that `play.py out=` has exported, computed by onnxruntime-web. The interface is
 * that of server.js, without translation. A seed gives different text from generate.py, whose random numbers are
 * PyTorch's.
 */
import { choose } from "../predictions.js";
import { tokenizer } from "../tokenizer.js";
import { windowStarts } from "../windows.js";
import { random } from "./random.js";
import { byLayer, parseSafetensors } from "./tensors.js";

const TOKENS_PER_PASS = 4096;

const described = await (await fetch("runs.json")).json();
const sessions = new Map();

export async function runs() {
  const listed = Object.values(described);
  return { chosen: listed.at(-1).id, runs: listed };
}

export async function describe(id) {
  return described[id];
}

/** As gpt/apps/playground/looking.py: windows that advance by an eighth of their length. */
export async function logits(id, ids, signal, off = []) {
  const known = off.length ? {} : await first(id, ids);
  if (`logits_${ids.length}` in known) return known[`logits_${ids.length}`];
  const { block_size: T, vocabulary_size: V } = described[id];
  const N = ids.length;
  const starts = windowStarts(N, T);
  const all = new Float32Array(N * V);
  let filled = 0;
  const windows = Math.max(1, Math.floor(TOKENS_PER_PASS / T));
  for (let first = 0; first < starts.length; first += windows) {
    signal?.throwIfAborted();
    const some = starts.slice(first, first + windows);
    const rows = some.map((start) => ids.slice(start, start + T));
    const computed = (await predicted(id, rows, off)).data; // (windows, T, V)
    for (const [w, start] of some.entries()) {
      const length = rows[w].length;
      const from = filled - start;
      all.set(computed.subarray((w * length + from) * V, (w + 1) * length * V), filled * V);
      filled += length - from;
    }
  }
  return { shape: [N, V], data: all };
}

export async function attention(id, ids) {
  if (!described[id].has_attention) return [];
  const known = byLayer(await first(id, ids));
  if (known[0]?.shape[1] === ids.length) return known;
  const outputs = await run(id, "with_attention", [ids.slice(-described[id].block_size)]);
  return byLayer(tensorsOf(outputs));
}

const firsts = new Map();

/**
 * Of a text with which the prompt that a run begins with ends, the tensors that static.py has computed; none of
 * another text.
 */
async function first(id, ids) {
  if (!firsts.has(id)) firsts.set(id, stored(`graphs/${encodeURIComponent(id)}/first.safetensors`));
  const tensors = await firsts.get(id);
  const end = tensors.ids.data.slice(-ids.length);
  return end.length === ids.length && end.every((token, i) => token === ids[i]) ? tensors : {};
}

async function stored(file) {
  return parseSafetensors(await (await fetch(file)).arrayBuffer());
}

/** The outputs of a graph for a single row of token ids. */
function tensorsOf(outputs) {
  const entries = Object.entries(outputs);
  return Object.fromEntries(entries.map(([name, { dims, data }]) => [name, { shape: dims.slice(1), data }]));
}

/** The logits for rows of token ids, with some parts turned off. */
async function predicted(id, rows, off) {
  if (!off.length) return (await run(id, "model", rows)).logits;
  const on = described[id].parts.map((part) => !off.includes(part));
  return (await run(id, "switched", rows, { on: ["bool", Uint8Array.from(on)] })).logits;
}

export async function inside(id, ids, row) {
  const outputs = await run(id, "inside", [ids], { row: ["int64", BigInt64Array.of(BigInt(row))] });
  return tensorsOf(outputs);
}

export async function interventions(id, ids) {
  const { parts, block_size, vocabulary_size: V } = described[id];
  const heads = parts.filter((part) => /attention\.\d+$/.test(part));
  if (!heads.length) return {};
  const { without_attention, attention_0 } = await first(id, ids);
  if (attention_0?.shape[1] === ids.length) return { without_attention };
  const { data } = await predicted(id, [ids.slice(-block_size)], heads);
  return { without_attention: { shape: [V], data: data.subarray(data.length - V) } };
}

export async function* write(id, prompt, options, signal) {
  const coder = tokenizer(described[id]);
  yield* coder.decode(continuation(id, coder.encode(prompt), options, signal));
}

async function* continuation(id, ids, options, signal) {
  const { block_size: T, vocabulary_size: V } = described[id];
  const uniform = random(options.seed);
  for (let step = 0; step < options.tokens && !signal?.aborted; step++) {
    const window = ids.slice(-T);
    const { data } = (await run(id, "model", [window])).logits;
    const next = choose(data.subarray((window.length - 1) * V), uniform(), options);
    ids.push(next);
    yield next;
    if (step % 8 === 7) await new Promise((resolve) => setTimeout(resolve)); // let the browser draw the page
  }
}

/** The outputs of a graph for rows of token ids and other inputs, as {name: [type, data]}. */
async function run(id, graph, rows, others = {}) {
  const ort = await runtime();
  const key = `graphs/${encodeURIComponent(id)}/${graph}.onnx`;
  if (!sessions.has(key)) sessions.set(key, ort.InferenceSession.create(new URL(key, document.baseURI).href));
  const session = await sessions.get(key);
  const idx = new ort.Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
  const given = Object.entries(others).map(([name, [type, data]]) => [name, new ort.Tensor(type, data, [data.length])]);
  return exclusively(() => session.run({ idx, ...Object.fromEntries(given) }));
}

// Load the engine when somebody touches the page: until then, `first` has all that it shows.
for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, runtime, { once: true });

let runtimeLoaded = null;

function runtime() {
  runtimeLoaded ??= Promise.all([import("../ort/ort.wasm.bundle.min.mjs"), unzipped()]).then(([ort, wasm]) => {
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

let queue = Promise.resolve();

/** Run computations one at a time: a session refuses a second one. */
function exclusively(compute) {
  const result = queue.then(compute);
  queue = result.catch(() => {});
  return result;
}
