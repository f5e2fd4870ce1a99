/** The run as one picture, as on the pages of the course, with the step that the reader has reached. */
/** @import { Part, Run } from "./engines/server.js" */
/** @import { Step } from "./steps.js" */
import { button, element } from "./dom.js";

/**
 * `run.flow` has the rows. `steps` are those of steps.js, of which the reader is at `here`, or at none; `chosen` is
 * called with the step of a part that is clicked.
 */
export function picture(/** @type {Run} */ run, /** @type {Step[]} */ steps, here, chosen) {
  const root = element("figure", { class: "picture", "aria-label": `${run.stage} as a picture` });
  const box = (/** @type {string} */ name, /** @type {Part} */ { since }) =>
    element("div", { class: name + newIn(run.stage, since) });
  const line = (/** @type {Part[]} */ ...parts) =>
    element("div", { class: "row" }, ...parts.map((part) => drawn(part, run.stage, steps, here, chosen)));
  let [block, branch] = [null, null];
  for (const row of run.flow) {
    if (!row.block) block = null;
    else if (!block) {
      block = box("block", row.block);
      block.append(line(row.block));
      root.append(block);
    }
    if (row.begins_branch) {
      branch = box("branch", run.flow.find(({ sum, branch }) => sum && branch === row.branch).sum);
      (block ?? root).append(branch);
    }
    const into = branch ?? block ?? root;
    into.append(line(...row.parts));
    if (row.sum) {
      branch.append(line(row.sum));
      branch = null;
    }
    if (row.shape) into.append(element("div", { class: "shape" }, `↓ ${row.shape}`));
  }
  return root;
}

const newIn = (stage, since) => (since === stage ? " new" : "");

function drawn(/** @type {Part} */ { name, label, since }, stage, /** @type {Step[]} */ steps, here, chosen) {
  if (since === null) return element("span", { class: "data" }, label);
  const step = steps.findIndex(({ parts }) => parts.includes(name));
  const isHere = steps[here]?.parts.includes(name);
  const isLater = here !== null && step > here && !isHere;
  return button(label, `part${newIn(stage, since)}${isLater ? " later" : ""}`, () => chosen(step), {
    "data-focus": `part-${name}`,
    "data-part": name,
    "aria-current": isHere ? "step" : null,
    disabled: step < 0,
  });
}
