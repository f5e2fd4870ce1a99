/** The heading of a panel: the run's stage, its numbers and its loss curve. */
/** @import { Run } from "./engines/server.js" */
import { curve } from "./curve.js";
import { count, element } from "./dom.js";
import { Moments } from "./moments.js";

const loss = (x) => (x === null ? "–" : x.toFixed(4));

export class Heading {
  /**
   * `moved` is called when the reader chooses a moment of the training, as moments.js does.
   * @param {Run} run
   */
  constructor(run, moved = null) {
    this.run = run;
    const isScrubbed = run.trained ? !run.trained.kept : run.moments.length > 1;
    this.moments = moved && isScrubbed ? new Moments(run, moved) : null;
    this.picture = element("div", { class: "curve" });
    this.figures = element("dl", { class: "figures" });
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
      element("h2", {}, element("span", { class: "badge" }, run.stage), element("span", { class: "adds" }, run.adds)),
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
    this.figures.replaceChildren(...losses(this.run));
    const width = Math.max(180, Math.min(this.picture.clientWidth || 320, 560));
    this.picture.replaceChildren(curve(this.run, { colour: "var(--run)", width, at: this.moments?.iteration ?? null }));
  }
}

function losses(run) {
  const documented = run.documented.val ?? run.documented.train;
  const kind = run.documented.kind === "mini-batch" ? "one mini-batch" : "validation";
  const isAlike = run.translates || run.token === "character"; // as the documented losses are
  return [
    ...(isAlike ? [figure("documented", loss(documented), documented === null ? "none" : kind)] : []),
    figure("measured", loss(run.estimated.val), "estimated", meaning(run.estimated.val, run.token)),
    ...(run.trained
      ? []
      : [
          figure(
            "exact",
            loss(run.exact),
            run.sampled ? "sample of the split" : "whole split",
            meaning(run.exact, run.token),
          ),
        ]),
    ...(isAlike || run.per_character === null ? [] : [figure("per character", loss(run.per_character), "exact")]),
  ];
}

/** What a loss means, for a friend who has never heard of a nat. */
function meaning(nats, token) {
  return nats === null ? "" : `as uncertain as a choice among ${Math.exp(nats).toFixed(1)} equally likely ${token}s`;
}

function figure(name, value, kind, title = "") {
  return element("div", { title }, element("dt", {}, name), element("dd", {}, value, element("small", {}, kind)));
}
