/** The run as one picture, as on the pages of the course, with the step that the reader has reached. */
/** @import { Part, Run } from "./engines/server.js" */
/** @import { Step } from "./steps.js" */
import { element } from "./dom.js";

/**
 * `run.flow` has the rows, `blocks` says how many there are of the part in a frame. `steps` are those of steps.js, of
 * which the reader is at `here`, or at none; `chosen` is called with the step of a part that is clicked.
 * @param {Run} run
 * @param {Step[]} steps
 */
export function picture(run, blocks, steps, here, chosen) {
  const root = element("figure", { class: "picture", "aria-label": `${run.stage} as a picture` });
  const box = (name, since) => element("div", { class: name + newIn(run.stage, since) });
  const line = (/** @type {Part[]} */ ...parts) =>
    element("div", { class: "row" }, ...parts.map((part) => drawn(part, run.stage, steps, here, chosen)));
  let [block, branch] = [null, null];
  for (const row of run.flow) {
    if (!row.in_block) block = null;
    else if (!block) {
      block = box("block", "v4");
      block.append(line({ name: "blocks", label: inBlocks(blocks), since: "v4" }));
      root.append(block);
    }
    if (row.begins_branch) {
      branch = box("branch", "v5");
      (block ?? root).append(branch);
    }
    const into = branch ?? block ?? root;
    into.append(line(...row.parts));
    if (row.ends_branch) {
      branch.append(line({ name: `plus.${row.parts[0].name.split(".")[0]}`, label: "+", since: "v5" }));
      branch = null;
    }
    if (row.shape) into.append(element("div", { class: "shape" }, `↓ ${row.shape}`));
  }
  return root;
}

const inBlocks = (n) => `${n} ${n === 1 ? "block" : "blocks"}`;

const newIn = (stage, since) => (since === stage ? " new" : "");

/**
 * @param {Part} part
 * @param {Step[]} steps
 */
function drawn({ name, label, since }, stage, steps, here, chosen) {
  if (since === null) return element("span", { class: "data" }, label);
  const step = steps.findIndex(({ parts }) => parts.includes(name));
  const isHere = steps[here]?.parts.includes(name);
  const isLater = here !== null && step > here && !isHere;
  return element(
    "button",
    {
      type: "button",
      class: `part${newIn(stage, since)}${isLater ? " later" : ""}`,
      "data-focus": `part-${name}`,
      "data-part": name,
      "aria-current": isHere ? "step" : null,
      disabled: step < 0,
      onclick: () => chosen(step),
    },
    label,
  );
}
