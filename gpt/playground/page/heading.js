/** The heading of a panel: the run's stage, its numbers and its loss curve. */
/** @import { Loss, Run } from "./engines/server.js" */
import { curve } from "./curve.js";
import { count, element } from "./dom.js";
import { Moments } from "./moments.js";

export class Heading {
  /** `moved` is called when the reader chooses a moment of the training, as moments.js does. */
  constructor(/** @type {Run} */ run, moved = null) {
    this.run = run;
    const isScrubbed = run.trained ? !run.trained.kept : run.moments.length > 1;
    this.moments = moved && isScrubbed ? new Moments(run, moved) : null;
    this.picture = element("div", { class: "curve" });
    this.figures = element("dl", { class: "figures row note" });
    const facts = [
      `${count(run.parameters)} parameters`,
      `window of ${count(run.block_size)} ${run.token}s`,
      `${count(run.iterations)} iterations`,
      `seed ${run.seed}`,
      ...(run.contains_text ? ["its weights contain the training text"] : []),
      ...(run.trained ? [`trained on ${run.trained.text}`] : []),
    ];
    this.root = element(
      "header",
      { class: `card heading${this.moments ? " scrubbed" : ""}${run.trained ? " own" : ""}` },
      element(
        "h2",
        { class: "row" },
        element("span", { class: "badge" }, run.stage),
        run.name ? element("span", { class: "name" }, run.name) : null,
        element("span", { class: "adds" }, run.adds),
      ),
      element(
        "p",
        { class: "note facts" },
        facts.join(" · "),
        run.changed.length
          ? element("span", {}, ` · changed from the documented run: ${run.changed.join(", ")}`)
          : null,
      ),
      this.figures,
      this.picture,
      this.moments?.root ?? null,
    );
  }

  /** Show how far a training is. */
  follow() {
    this.moments.follow();
    this.redraw();
  }

  /** Write the losses, draw the curve, and mark the chosen moment. */
  redraw() {
    this.figures.replaceChildren(...this.run.losses.map(figure));
    const width = Math.max(180, Math.min(this.picture.clientWidth || 320, 560));
    this.picture.replaceChildren(curve(this.run, { colour: "var(--run)", width, at: this.moments?.iteration ?? null }));
  }
}

/** A loss, with what it means for a friend who has never heard of a nat. */
function figure(/** @type {Loss} */ { name, nats, unit, kind }) {
  const title =
    nats === null ? "" : `as uncertain as a choice among ${Math.exp(nats).toFixed(1)} equally likely ${unit}s`;
  const value = nats?.toFixed(4) ?? (name && "–"); // without a name, it continues the one before
  return element("div", { title }, element("dt", {}, name), element("dd", {}, value, element("small", {}, kind)));
}
