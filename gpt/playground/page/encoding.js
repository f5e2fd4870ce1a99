/** Texts to token ids, as in gpt/data/tokenizers. */
/** @import { Run } from "./engines/server.js" */

/** How GPT-2 splits a text before it merges bytes: no token goes beyond one of these pieces. */
const PIECES = new RegExp(
  [
    "'s|'t|'re|'ve|'m|'ll|'d",
    String.raw` ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+`,
    String.raw`\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+`, // not \s, which has U+FEFF and lacks U+0085
  ].join("|"),
  "gu",
);

const utf8 = (text) => new TextEncoder().encode(text);

/** The tokenizer of a run that continues a text, from the run's description. */
export function tokenizer(/** @type {Run} */ run) {
  const kinds = { characters: Characters, bytes: Bytes, subwords: Subwords, gpt2: Subwords, words: Words };
  return new kinds[run.tokenizer.kind](run);
}

class Tokenizer {
  /** @param {Run} run */
  constructor(run) {
    this.shown = run.vocabulary; // each token as text; bytes that are not a whole character as <0xE2>
  }

  /** A token in UTF-8. */
  bytes(id) {
    return utf8(this.shown[id]);
  }

  /** The part of a text that can be encoded. */
  known(text) {
    return text;
  }

  /** The characters that cannot be, each once. */
  unknown() {
    return [];
  }

  /** The characters that begin in a token: for the last bytes of a character, none. */
  characters(id) {
    return this.bytes(id).filter((byte) => (byte & 0xc0) !== 0x80).length;
  }

  /** The text of tokens that come one by one; the first bytes of a character wait for the last ones. */
  async *decode(/** @type {AsyncIterable<number>} */ ids) {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    for await (const id of ids) yield decoder.decode(this.bytes(id), { stream: true });
    yield decoder.decode();
  }
}

class Characters extends Tokenizer {
  constructor(run) {
    super(run);
    this.ids = new Map(this.shown.map((character, id) => [character, id]));
  }

  encode(text) {
    return Array.from(this.known(text), (character) => this.ids.get(character));
  }

  known(text) {
    return Array.from(text, (character) => (this.ids.has(character) ? character : "")).join("");
  }

  unknown(text) {
    return [...new Set(Array.from(text).filter((character) => !this.ids.has(character)))];
  }
}

class Bytes extends Tokenizer {
  encode(text) {
    return Array.from(utf8(text));
  }

  bytes(id) {
    return Uint8Array.of(id);
  }
}

/** Frequent words, each with the space before it; others are spelled. */
class Words extends Characters {
  encode(text) {
    const words = this.known(text).match(/ ?[\p{L}\p{M}\p{N}_]+|[^\p{L}\p{M}\p{N}_]/gu) ?? [];
    return words.flatMap((word) =>
      this.ids.has(word) ? [this.ids.get(word)] : Array.from(word, (character) => this.ids.get(character)),
    );
  }
}

/** Byte-pair encoding: of the neighbours in a piece, those of the earliest merge are joined first. */
class Subwords extends Tokenizer {
  constructor(run) {
    super(run);
    this.written = run.tokenizer.vocabulary; // each byte as a printable character
    this.ids = new Map(this.written.map((token, id) => [token, id]));
    this.ranks = ranksOf(run);
    this.printable = printable();
    this.values = new Map(this.printable.map((character, byte) => [character, byte]));
  }

  encode(text) {
    const bytes = (piece) => Array.from(utf8(piece), (byte) => this.printable[byte]);
    return (text.match(PIECES) ?? []).flatMap((piece) =>
      merged(bytes(piece), this.ranks).map((token) => this.ids.get(token)),
    );
  }

  bytes(id) {
    return Uint8Array.from(this.written[id], (character) => this.values.get(character));
  }
}

const SPACE = "\u2581"; // before a word
const SPECIAL = 4; // tokens that come first, as in gpt/data/vocabulary.py
const WORDS = new RegExp(`${SPACE}?[^${SPACE}]+|${SPACE}`, "gu");
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]|[^!-/:-@[-`{-~\p{P}]+/gu;

/** Byte-pair encoding of the characters of words, for sentence pairs, as in gpt/data/pairs.py. */
export class SentenceSubwords {
  /** @param {Run} run */
  constructor(run) {
    this.written = run.tokenizer.vocabulary;
    this.shown = this.written.map((token) => token.replaceAll(SPACE, " "));
    this.ids = new Map(this.written.map((token, id) => [token, id]));
    this.ranks = ranksOf(run);
    this.characters = new Set([" ", ...this.written.slice(SPECIAL).join("")]);
  }

  encode(text) {
    const known = this.known(text).replaceAll(" ", SPACE);
    const sentence = known && !known.startsWith(SPACE) ? SPACE + known : known;
    const pieces = (sentence.match(WORDS) ?? []).flatMap((word) => word.match(PUNCTUATION));
    return pieces.flatMap((piece) => merged(Array.from(piece), this.ranks).map((token) => this.ids.get(token)));
  }

  known(text) {
    const spaced = this.#spaced(text);
    const known = Array.from(spaced).filter((character) => this.characters.has(character));
    const whole = known.join("");
    return whole === spaced ? whole : whole.split(" ").filter(Boolean).join(" ");
  }

  unknown(text) {
    return [...new Set(Array.from(this.#spaced(text)).filter((character) => !this.characters.has(character)))];
  }

  /** Other white space would join two words. */
  #spaced(text) {
    return text.replace(/\p{White_Space}/gu, (blank) => (this.characters.has(blank) ? blank : " "));
  }
}

const ranksOf = (/** @type {Run} */ run) => new Map(run.tokenizer.merges.map((pair, rank) => [pair.join(" "), rank]));

/** A piece of text after all merges of its `tokens`. */
function merged(tokens, ranks) {
  for (;;) {
    let [lowest, place] = [Infinity, 0];
    for (let i = 0; i < tokens.length - 1; i++) {
      const rank = ranks.get(`${tokens[i]} ${tokens[i + 1]}`) ?? Infinity;
      if (rank < lowest) [lowest, place] = [rank, i];
    }
    if (lowest === Infinity) return tokens;
    tokens.splice(place, 2, tokens[place] + tokens[place + 1]);
  }
}

/** The character that stands for each byte in tokenizer.json: of Latin-1 if it is printable, else from U+0100 on. */
function printable() {
  let others = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isVisible = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    return String.fromCodePoint(isVisible ? byte : others++);
  });
}
