/** The texts that a stage can be trained on. */
/** @import { Run } from "../engines/server.js" */
/** @import { Text } from "./order.js" */
import { random } from "../engines/random.js";

const LARGEST = 20_000_000; // characters
const SHOWN = 20_000; // of a text of one's own that can be edited
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

/**
 * The reader's own text, typed, pasted or dropped. One that the area cannot hold as it is, because it is long or because
 * of a \r, is kept apart: it is shown, but not edited.
 */
export class OwnText {
  /** @param {HTMLTextAreaElement} area */
  constructor(area, said) {
    this.area = area;
    this.said = said;
    /** @type {string | null} */
    this.apart = null;
    area.addEventListener("input", () => this.#say());
    area.addEventListener("paste", (event) => this.#take(event, event.clipboardData.getData("text/plain")));
    area.addEventListener("dragover", (event) => event.preventDefault());
    this.file = ""; // the name of the one that it was read from
    area.addEventListener("drop", (event) => {
      const [dropped] = event.dataTransfer.files;
      if (!dropped) return;
      event.preventDefault();
      this.open(dropped);
    });
  }

  /**
   * Read a file that was dropped or chosen.
   * @param {File} file
   */
  async open(file) {
    if (file.size > 4 * LARGEST) return this.refuse(file.size);
    try {
      const decoder = new TextDecoder("utf-8", { fatal: true });
      this.#show(decoder.decode(await file.arrayBuffer()));
      this.file = file.name;
    } catch {
      this.#fail(`${file.name} is not a text in UTF-8`);
    }
  }

  get content() {
    return this.apart ?? this.area.value;
  }

  /** A long text would be slow to edit: it replaces all that is there, with the line ends of a shorter one. */
  #take(event, text) {
    if (text.length <= SHOWN) return;
    event.preventDefault();
    if (text.length > LARGEST) this.refuse(text.length);
    else this.#show(text.replace(/\r\n?/g, "\n"));
  }

  #show(text) {
    this.file = "";
    this.area.value = text.slice(0, SHOWN);
    this.apart = this.area.value === text ? null : text;
    this.area.readOnly = this.apart !== null;
    this.#say();
  }

  /** Say that a text is too large. */
  refuse(size) {
    const millions = (n) => `${Math.round(n / 1e6)} million`;
    this.#fail(`${millions(size)} characters are too many for a browser: at most ${millions(LARGEST)}`);
  }

  /** Forget it. */
  clear() {
    this.#show("");
    this.area.focus();
  }

  #fail(why) {
    this.said.className = "failure";
    this.said.textContent = why;
  }

  #say() {
    this.said.className = "note";
    const parts = [`${this.content.length.toLocaleString("en")} characters`];
    if (this.apart?.length > SHOWN) parts.push(`of which the first ${SHOWN.toLocaleString("en")} are shown`);
    else if (this.apart !== null) parts.push("not to be edited here, where their \\r would be lost");
    this.said.textContent = parts.join(", ");
  }
}
