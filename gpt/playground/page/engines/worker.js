/**
 * The worker of onnx.js: it loads graphs and weights, computes, and trains. The page never waits for a computation.
 *
 * A message {id, task, given} is answered with {id, result} or {id, error}; trainings also send {training, progress}.
 *
 * @import { Tensors } from "./server.js"
 * @import { Order } from "../training/work.js"
 * @typedef {Record<string, {type: string, data: Float32Array | BigInt64Array | Uint8Array, dims: number[]}>} Inputs
 */
import { encoded } from "../training/corpus.js";
import { Work } from "../training/work.js";
import { parseSafetensors } from "./tensors.js";

const site = new URL("../", import.meta.url);
const sessions = new Map();
const loaded = new Map();
/** @type {Map<string, Work | Pick<Work, "weights">>} */
const trainings = new Map();
let runtimeLoaded = null;

const tasks = {
  warm: () => runtime().then(() => {}),

  /** The outputs of a graph. `weights` is a file, a moment of a training, or null if the graph contains them. */
  async compute(graph, weights, /** @type {Inputs} */ inputs) {
    const outputs = await computed(graph, weights === null ? {} : await weightsOf(weights), inputs);
    return Object.fromEntries(Object.entries(outputs).map(([name, { dims, data }]) => [name, { dims, data }]));
  },

  /** A text, which may be long, as a corpus. */
  encode: (text, blockSize) => encoded(text, blockSize),

  /** Prepare a training under a name; `order` says what is trained on what. */
  async begin(name, /** @type {Order} */ order) {
    const graph = (file) => async (weights, batch, idx, targets) => {
      const windows = { idx, targets };
      const dims = [batch, order.settings.blockSize];
      const rows = Object.entries(windows).map(([input, data]) => [input, { type: "int64", data, dims }]);
      return computed(`${order.graphs}/${file}`, weights, Object.fromEntries(rows));
    };
    const logits = async (weights, windows) => {
      const [rows, length] = [windows.length, windows[0].length];
      const idx = { type: "int64", data: BigInt64Array.from(windows.flat(), BigInt), dims: [rows, length] };
      const { data, dims } = (await computed(order.writes, weights, { idx })).logits; // (rows, length, V)
      return windows.map((_, row) => data.subarray(((row + 1) * length - 1) * dims[2], (row + 1) * length * dims[2]));
    };
    const graphs = { step: graph("training.onnx"), loss: graph("loss.onnx"), logits: order.writes && logits };
    const start = order.start ? copied(await weightsOf(order.start)) : null;
    const tell = (progress) => postMessage({ training: name, progress });
    trainings.set(name, new Work(graphs, order, start, tell));
  },

  go: (name) => running(name).go(),
  pause: (name) => running(name).pause(),
  step: (name) => running(name).step(),

  /** Keep the weights of an earlier training. */
  hold: (name, /** @type {Tensors} */ weights) => void trainings.set(name, { weights: () => weights }),

  weights: (name, moment) => trainings.get(name).weights(moment),
  forget: (name) => trainings.delete(name),
};

addEventListener("message", async ({ data: { id, task, given } }) => {
  try {
    postMessage({ id, result: await tasks[task](...given) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
});

const running = (name) => /** @type {Work} */ (trainings.get(name));

/** @param {Tensors} weights */
async function computed(graph, weights, /** @type {Inputs} */ inputs) {
  const ort = await runtime();
  if (!sessions.has(graph)) sessions.set(graph, ort.InferenceSession.create(new URL(graph, site).href));
  const session = await sessions.get(graph);
  const feeds = {};
  for (const [name, { shape, data }] of Object.entries(weights)) feeds[name] = new ort.Tensor("float32", data, shape);
  for (const [name, { type, data, dims }] of Object.entries(inputs)) feeds[name] = new ort.Tensor(type, data, dims);
  return exclusively(() => session.run(feeds));
}

/** @returns {Promise<Tensors>} */
async function weightsOf({ file, training, moment }) {
  if (training) return trainings.get(training).weights(moment);
  if (!loaded.has(file)) loaded.set(file, await load(file));
  return loaded.get(file);
}

/** @param {Tensors} weights */
function copied(weights) {
  const all = Object.entries(weights);
  return Object.fromEntries(all.map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]));
}

async function load(file) {
  const response = await fetch(new URL(file, site));
  if (!response.ok) throw new Error(`${file} could not be loaded: ${response.status}`);
  return parseSafetensors(await response.arrayBuffer());
}

function runtime() {
  // @ts-expect-error: static.py writes it there
  const loading = import("../ort/ort.wasm.bundle.min.mjs");
  runtimeLoaded ??= Promise.all([loading, unzipped()]).then(([ort, wasm]) => {
    ort.env.wasm.numThreads = 1; // more need headers that few static hosts send, and lose sums of gradients
    ort.env.wasm.wasmBinary = wasm;
    return ort;
  });
  return runtimeLoaded;
}

async function unzipped() {
  const { body } = await fetch(new URL("ort/ort-wasm-simd-threaded.wasm.gz", site));
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
