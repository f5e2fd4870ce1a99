/**
 * What the reader has guessed and trained, kept in this browser; where nothing can be kept, until the page is left.
 *
 * A run of the reader's: `changed` is what differs from the documented run, as key=value.
 * @typedef {{loss: number, isExact: boolean, seed: number, changed: string[]}} OwnRun
 */
// biome-ignore lint/correctness/noUnusedVariables: the site's other scripts use it
const record = {
  key: "gpt-ladder",
  unkept: "{}",

  /** @returns {{guesses: Record<string, number>, runs: Record<string, OwnRun>}} By page and by stage. */
  read() {
    try {
      this.unkept = localStorage.getItem(this.key) ?? this.unkept;
    } catch {} // storage is disabled
    try {
      const { guesses = {}, runs = {} } = JSON.parse(this.unkept);
      return { guesses, runs };
    } catch {
      return { guesses: {}, runs: {} };
    }
  },

  /**
   * A run in words, with what differs from the documented run: their losses cannot be compared.
   * @param {OwnRun} run
   */
  told({ loss, isExact, seed, changed }) {
    const differing = changed.map((change) => change.replace("training.", "")).join(", ");
    return `${loss.toFixed(4)} (${isExact ? "exact" : "estimated"}, seed ${seed}${differing && `, with ${differing}`})`;
  },

  /** @param {"guesses" | "runs"} kind */
  keep(kind, name, value) {
    const all = this.read(); // another tab may have written
    all[kind][name] = value;
    this.write(JSON.stringify(all));
  },

  forget() {
    this.write("{}");
  },

  write(text) {
    this.unkept = text;
    try {
      localStorage.setItem(this.key, text);
    } catch {} // storage is disabled, or full
  },
};
