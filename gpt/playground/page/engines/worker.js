/**
 * The worker of onnx.js: it loads graphs and weights, computes, and trains. The page never waits for a computation.
 *
 * A message {id, task, given} is answered with {id, result} or {id, error}; trainings also send {training, progress}.
 *
 * @import { Run, Tensors } from "./server.js"
 * @import { Chosen, Text } from "../training/order.js"
 * @typedef {Record<string, {type: string, data: Float32Array | BigInt64Array | Uint8Array, dims: number[]}>} Inputs
 */
import { encoded } from "../training/corpus.js";
import { ordered } from "../training/order.js";
import { Work } from "../training/work.js";
import { copied, parseSafetensors } from "./tensors.js";

const site = new URL("../", import.meta.url);
const made = new Map(); // what is loaded once, by the name of its file
/** @type {Map<string, Work | Pick<Work, "weights">>} */
const trainings = new Map();

const tasks = {
  warm: () => runtime().then(() => {}),

  /** Load what a training with the graphs of a folder begins with, but its weights. */
  async prepare(folder) {
    await descriptionIn(folder);
    for (const name of ["model", "training", "loss"]) await sessionOf(`${folder}/${name}.onnx`); // as they are needed
  },

  /** The outputs of a graph. `weights` is a file, a moment of a training, or null if the graph contains them. */
  async compute(graph, weights, /** @type {Inputs} */ inputs) {
    const outputs = await computed(graph, weights === null ? {} : await weightsOf(weights), inputs);
    return Object.fromEntries(Object.entries(outputs).map(([name, { dims, data }]) => [name, { dims, data }]));
  },

  /** Prepare a training of a run's stage on a text, with the graphs of a folder; the run that it makes. */
  async begin(/** @type {Run} */ base, /** @type {Text} */ text, /** @type {Chosen} */ chosen, folder) {
    const corpus = encoded(text.content, base.block_size);
    const { run, order } = ordered(base, text, corpus, chosen, await descriptionIn(folder));
    const graph = (file) => async (weights, batch, idx, targets) => {
      const windows = (data) => ({ type: "int64", data, dims: [batch, base.block_size] });
      return computed(`${folder}/${file}`, weights, { idx: windows(idx), targets: windows(targets) });
    };
    const logits = async (weights, windows) => {
      const [rows, length] = [windows.length, windows[0].length];
      const idx = { type: "int64", data: BigInt64Array.from(windows.flat(), BigInt), dims: [rows, length] };
      const { data, dims } = (await computed(`${folder}/model.onnx`, weights, { idx })).logits; // (rows, length, V)
      return windows.map((_, row) => data.subarray(((row + 1) * length - 1) * dims[2], (row + 1) * length * dims[2]));
    };
    const graphs = { step: graph("training.onnx"), loss: graph("loss.onnx"), logits: chosen.variant ? null : logits };
    const start = order.start ? copied(await weightsOf(order.start)) : null;
    const tell = (progress) => postMessage({ training: run.id, progress });
    trainings.set(run.id, new Work(graphs, order, start, tell));
    return run;
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
  const session = await sessionOf(graph);
  const feeds = {};
  for (const [name, { shape, data }] of Object.entries(weights)) feeds[name] = new ort.Tensor("float32", data, shape);
  for (const [name, { type, data, dims }] of Object.entries(inputs)) feeds[name] = new ort.Tensor(type, data, dims);
  return exclusively(() => session.run(feeds));
}

/** @type {(which: {file?: string, training?: string, moment?: number | null}) => Promise<Tensors>} */
async function weightsOf({ file, training, moment }) {
  if (training) return trainings.get(training).weights(moment);
  return once(file, async () => parseSafetensors(await (await load(file)).arrayBuffer()));
}

const descriptionIn = (folder) =>
  once(`${folder}/training.json`, async () => (await load(`${folder}/training.json`)).json());

const sessionOf = (graph) =>
  once(graph, async () => (await runtime()).InferenceSession.create(new URL(graph, site).href));

const runtime = () =>
  once("ort", async () => {
    // @ts-expect-error: static.py writes it there
    const ort = await import("../ort/ort.wasm.bundle.min.mjs");
    ort.env.wasm.numThreads = 1; // more need headers that few static hosts send, and lose sums of gradients
    const { body } = await load("ort/ort-wasm-simd-threaded.wasm.gz");
    ort.env.wasm.wasmBinary = await new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    return ort;
  });

/** What is made under a name, now or before; what has failed is tried again. */
function once(name, make) {
  if (!made.has(name)) made.set(name, make());
  made.get(name).catch(() => made.delete(name));
  return made.get(name);
}

async function load(file) {
  const response = await fetch(new URL(file, site));
  if (!response.ok) throw new Error(`${file} could not be loaded: ${response.status}`);
  return response;
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
