/** The texts that a stage can be trained on. */
/** @import { Run } from "../engines/server.js" */
/** @import { Text } from "./order.js" */
import { count } from "../dom.js";
import { random } from "../engines/random.js";

const LARGEST = 20e6; // bytes of a file
const SHOWN = 20_000; // characters of it
const LINES = 20_000; // as in conf/data/recall.yaml

/**
 * Those with a label are offered, each to runs that are `answersOnly` or not, as it is. Lines need the run and a seed.
 * @type {Record<string, {label?: string, answersOnly?: boolean, load: (run?: Run, seed?: number) => Promise<Text>}>}
 */
export const TEXTS = {
  shakespeare: {
    label: "Shakespeare",
    load: async () => ({ ...(await file("shakespeare", "tiny Shakespeare")), isDocumented: true }),
  },
  names: { label: "names", load: () => file("names", "names") },
  recall: { label: "new lines", answersOnly: true, load: async (run, seed) => recall((run.block_size - 1) / 2, seed) },
  abc: { load: async () => ({ content: "abc".repeat(2000), name: "abcabc…", isDocumented: false }) },
};

/** @returns {Promise<Text>} */
async function file(name, label) {
  const response = await fetch(new URL(`../texts/${name}.txt`, import.meta.url));
  if (!response.ok) throw new Error(`the text could not be loaded: ${response.status}`);
  return { content: await response.text(), name: label, isDocumented: false };
}

/** Lines as those of gpt/data/lines.py: letters, each followed by its digit, and one of them again, then its digit. */
function recall(pairs, seed) {
  const uniform = random(seed);
  const below = (n) => Math.floor(n * uniform());
  const line = () => {
    const letters = Array.from("abcdefghijklmnopqrstuvwxyz");
    const told = Array.from({ length: pairs }, () => letters.splice(below(letters.length), 1)[0] + below(10));
    return `${told.join("")}${told[below(pairs)]}\n`;
  };
  return { content: Array.from({ length: LINES }, line).join(""), name: "new lines", isDocumented: false };
}

/** The reader's own text: typed or pasted, or a file, which is not edited. */
export class OwnText {
  /** @param {HTMLTextAreaElement} area */
  constructor(area, said) {
    this.area = area;
    this.said = said;
    this.clear();
    area.addEventListener("input", () => this.#say());
    area.addEventListener("dragover", (event) => event.preventDefault());
    area.addEventListener("drop", (event) => {
      const [dropped] = event.dataTransfer.files;
      if (!dropped) return;
      event.preventDefault();
      this.open(dropped);
    });
  }

  /** Read a file that was dropped or chosen. */
  async open(/** @type {File} */ file) {
    try {
      if (file.size > LARGEST) throw new Error(`it has more than ${LARGEST / 1e6} MB`);
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      Object.assign(this, { file: file.name, whole: text });
      this.area.value = text.slice(0, SHOWN);
      this.area.readOnly = true;
      this.#say();
    } catch (error) {
      const why = error instanceof TypeError ? "it is not a text in UTF-8" : error.message;
      this.said.className = "failure";
      this.said.textContent = `${file.name}: ${why}`;
    }
  }

  get content() {
    return this.whole ?? this.area.value;
  }

  /** Forget it. */
  clear() {
    this.file = ""; // the name of the one that it was read from
    /** @type {string | null} */
    this.whole = null; // that of the file; the area shows its beginning
    this.area.value = "";
    this.area.readOnly = false;
    this.#say();
  }

  #say() {
    this.said.className = "note";
    this.said.textContent = `${count(this.content.length)} characters${this.file && ` of ${this.file}`}`;
  }
}
