/** What is to be trained on what, as work.js takes it, and the run that comes of it, as the page shows it. */
/** @import { Offered, Row, Run } from "../engines/server.js" */
/** @import { Weight } from "./drawing.js" */
/** @import { Order, Progress } from "./work.js" */
import { extended } from "./written.js";

const PROMPT = 80; // characters
const ESTIMATES = 10; // in a training

/**
 * What is trained and how.
 * @typedef {{
 *   learningRate: number, batchSize: number, iterations: number, seed: number, variant?: string | null,
 * }} Chosen
 * @typedef {{content: string, name: string, isDocumented: boolean, file?: string}} Text
 */

let trained = 0;

/**
 * @param {Run} base The run whose stage is trained.
 * @param {Text} text
 * @param {Pick<Order, "vocabulary" | "splits">} corpus That of the text.
 * @param {Chosen} chosen
 * @param {Weight[]} description
 * @returns {{run: Run, order: Order}}
 */
export function ordered(base, text, { vocabulary, splits }, chosen, description) {
  const sizes = description.map(({ shape }) => shape.reduce((n, size) => n * (size ?? vocabulary.length), 1));
  const parameters = sizes.reduce((sum, size) => sum + size, 0);
  const { learningRate, batchSize, iterations, seed, variant } = chosen;
  const { eval_iters: evalIters } = /** @type {Offered} */ (base.training);
  const isSame =
    !variant && seed === base.seed && vocabulary.join("") === base.vocabulary.join("") && base.moments[0] === 0;
  const documented = text.isDocumented && !variant ? base.documented : null;
  const file = `graphs/${encodeURIComponent(base.id)}/weights/0.safetensors`;
  const order = {
    start: isSame ? { file } : null,
    description,
    vocabulary,
    splits,
    settings: { learningRate, batchSize, evalIters, seed, blockSize: base.block_size, answersOnly: base.answers_only },
    iterations,
    interval: Math.ceil(iterations / ESTIMATES),
  };
  const beginning = Array.from(text.content.slice(0, 2 * PROMPT));
  trained += 1;
  /** @type {Run} */
  const run = {
    ...base,
    id: `${base.id}-trained-${Date.now()}-${trained}`,
    name: `trained here, ${trained}`,
    seed,
    iterations,
    parameters,
    flow: base.flow.map((row) => ofAlphabet(row, base.token, vocabulary.length)),
    vocabulary,
    vocabulary_size: vocabulary.length,
    tokenizer: { kind: "characters" },
    token: "character",
    prompt: text.isDocumented || base.answers_only ? base.prompt : beginning.slice(0, PROMPT).join(""),
    changed: documented ? changes(base, chosen) : [],
    differing: "",
    documented,
    losses: [],
    loss: null,
    weights: "as they are now",
    curve: [],
    moments: [0],
    texts: [],
    trained: {
      of: base.id,
      iteration: 0,
      text: text.name,
      isDocumented: text.isDocumented,
      beside: text.isDocumented ? base.curve : [],
      batches: [],
      kept: false,
    },
  };
  return { run, order };
}

/** What differs from the documented run, as key=value. */
function changes({ changed, training, documented: { settings } }, { learningRate, batchSize, iterations }) {
  const own = {
    "training.max_iters": iterations,
    "training.batch_size": batchSize,
    "training.learning_rate": learningRate,
  };
  const isUsual = training.optimizer === "AdamW" || changed.some((change) => change.startsWith("optimizer="));
  return [
    ...changed.filter((change) => /^(model\.|optimizer=AdamW)/.test(change)),
    ...(isUsual ? [] : ["optimizer=AdamW"]),
    ...Object.entries(own).flatMap(([key, value]) => (value === settings[key] ? [] : [`${key}=${value}`])),
  ];
}

/** A row of the picture with the size of another vocabulary, of characters. */
function ofAlphabet(/** @type {Row} */ row, token, size) {
  const renamed = (part) => (part.since === null ? { ...part, label: part.label.replace(token, "character") } : part);
  return { ...row, shape: row.shape.replace(/V=\d+/, `V=${size}`), parts: row.parts.map(renamed) };
}

/** Let a run's description follow its training. */
export function advance(/** @type {Run} */ run, /** @type {Progress} */ { iteration, loss, moments, text, estimate }) {
  run.trained.iteration = iteration;
  run.moments = moments.at(-1) === iteration ? moments : [...moments, iteration];
  if (loss !== null) run.trained.batches.push({ iteration, loss });
  if (text) run.texts = extended(run.texts, text);
  if (!estimate) return;
  run.curve.push(estimate);
  const measured = { nats: estimate.val, unit: run.token };
  run.loss = { ...measured, how: "estimated" };
  run.losses = [{ ...measured, name: "measured", kind: "estimated" }];
}
