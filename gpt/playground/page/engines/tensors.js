/** Parse tensors from the server: safetensors, float32 only. */

/** @import { Tensors } from "./server.js" */

/** @returns {Tensors} */
export function parseSafetensors(buffer) {
  const headerSize = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, headerSize)));
  /** @type {Tensors} */
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (dtype !== "F32") throw new Error(`${name} is ${dtype}, not F32`);
    const [start, end] = offsets.map((offset) => 8 + headerSize + offset);
    tensors[name] = { shape, data: new Float32Array(buffer.slice(start, end)) };
  }
  return tensors;
}

/** @type {(tensors: Tensors) => Tensors} */
export function copied(tensors) {
  const all = Object.entries(tensors);
  return Object.fromEntries(all.map(([name, { shape, data }]) => [name, { shape, data: data.slice() }]));
}

/** The attention tensors among them, by layer. */
export function byLayer(/** @type {Tensors} */ tensors) {
  return Object.keys(tensors)
    .filter((name) => name.startsWith("attention_"))
    .sort((a, b) => Number(a.split("_")[1]) - Number(b.split("_")[1]))
    .map((name) => tensors[name]);
}
