/**
 * A training as a run folder that generate.py and evaluate.py open: a tar archive of config.yaml, tokenizer.json and
 * best.safetensors and last.safetensors, sealed as gpt/runs does, and of the text if it is the reader's own.
 *
 * @import { Run, Tensors } from "../engines/server.js"
 */

const PLACE = "0".repeat(64); // stands for a checksum until the content is known
const FORMAT = 1;
const BLOCK = 512; // of a tar archive

/**
 * @param {Run} run
 * @param {{last: Tensors, best: Tensors, bestIteration: number, splits: string[], config: Record<string, any>}} made
 */
export async function folder(run, { last, best, bestIteration, splits, config }) {
  const vocabulary = {
    kind: "characters",
    vocabulary: run.vocabulary.join(""),
    merges: null,
    corpus: hexadecimal(await digest(joined(splits.flatMap(measured)))),
    covers: true,
  };
  const files = {
    "config.yaml": await sealed(yaml({ format: FORMAT, ...config, checksum: PLACE })),
    "tokenizer.json": await sealed(`${JSON.stringify({ format: FORMAT, ...vocabulary, checksum: PLACE }, null, 2)}\n`),
    "last.safetensors": await safetensors(last, run.trained.iteration),
    "best.safetensors": await safetensors(best, bestIteration),
    ...(config.data.path ? { [config.data.path]: utf8(splits.join("")) } : {}),
  };
  const name = `${run.stage}_trained_here`;
  const entries = Object.entries(files).flatMap(([file, content]) => tarred(`${name}/${file}`, content));
  return { name: `${name}.tar`, content: joined([...entries, new Uint8Array(2 * BLOCK)]) };
}

const utf8 = (text) => new TextEncoder().encode(text);

/** A text after its length, as its digest takes it. */
function measured(text) {
  const content = utf8(text);
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(content.length));
  return [new Uint8Array(length.buffer), content];
}

/** One line for each key: JSON is YAML. */
function yaml(fields) {
  return Object.entries(fields)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join("");
}

/** A text that ends with PLACE as its checksum, with the checksum of all before it there. */
async function sealed(text) {
  const place = text.lastIndexOf(PLACE);
  const before = text.slice(0, place);
  return utf8(before + hexadecimal(await digest(utf8(before))) + text.slice(place + PLACE.length));
}

/** @param {Tensors} tensors */
async function safetensors(tensors, iteration) {
  const header = { __metadata__: { checksum: `${PLACE} format ${FORMAT} iteration ${iteration}` } };
  let end = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [end, end + data.byteLength] };
    end += data.byteLength;
  }
  const words = JSON.stringify(header);
  const described = utf8(words.padEnd(Math.ceil(words.length / 8) * 8));
  const length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(described.length), true);
  const values = Object.values(tensors).map(
    ({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  );
  const content = joined([new Uint8Array(length.buffer), described, ...values]);
  const place = 8 + words.indexOf(PLACE);
  const checksum = hexadecimal(await digest(content.subarray(place + PLACE.length)));
  content.set(utf8(checksum), place);
  return content;
}

/** A file of a tar archive, in the format of POSIX.1-1988. */
function tarred(path, content) {
  const header = new Uint8Array(BLOCK);
  const write = (place, text) => header.set(utf8(text), place);
  write(0, path);
  write(100, "0000644\0".padEnd(24, "0000000\0")); // mode, owner and group
  write(124, `${content.length.toString(8).padStart(11, "0")}\0${"0".repeat(11)}\0`); // size and time
  write(148, " ".repeat(8)); // in place of its checksum
  write(156, "0ustar\x0000");
  const sum = header.reduce((total, byte) => total + byte, 0);
  write(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return [header, content, new Uint8Array((BLOCK - (content.length % BLOCK)) % BLOCK)];
}

async function digest(content) {
  if (!crypto.subtle) throw new Error("browsers compute checksums only on pages of https or of localhost");
  return new Uint8Array(await crypto.subtle.digest("SHA-256", content));
}

const hexadecimal = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    all.set(part, place);
    place += part.length;
  }
  return all;
}
