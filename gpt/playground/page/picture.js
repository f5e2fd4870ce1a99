/** The run as one picture, as on the pages of the course, with the step that the reader has reached. */
import { element } from "./dom.js";

/**
 * `run.flow` has the rows, `blocks` says how many there are of the part in a frame. `steps` are those of steps.js, of
 * which the reader is at `here`, or at none; `chosen` is called with the step of a part that is clicked.
 */
export function picture(run, blocks, steps, here, chosen) {
  const root = element("figure", { class: "picture", "aria-label": `${run.stage} as a picture` });
  const isNew = (since) => (since === run.stage ? " new" : "");
  let [block, branch] = [null, null];
  for (const row of run.flow) {
    if (!row.in_block) block = null;
    else if (!block) {
      const label = part({ name: "blocks", label: `${blocks} ${blocks === 1 ? "block" : "blocks"}`, since: "v4" });
      block = element("div", { class: `block${isNew("v4")}` }, element("div", { class: "row" }, label));
      root.append(block);
    }
    if (row.begins_branch) {
      branch = element("div", { class: `branch${isNew("v5")}` });
      (block ?? root).append(branch);
    }
    const into = branch ?? block ?? root;
    into.append(element("div", { class: "row" }, ...row.parts.map(part)));
    if (row.ends_branch) {
      const name = `${row.parts[0].name.split(".")[0]}.plus`;
      branch.append(element("div", { class: "row" }, part({ name, label: "+", since: "v5" })));
      branch = null;
    }
    if (row.shape) into.append(element("div", { class: "shape" }, `↓ ${row.shape}`));
  }
  return root;

  function part({ name, label, since }) {
    if (since === null) return element("span", { class: "data" }, label);
    const step = steps.findIndex(({ parts }) => parts.includes(name));
    const isHere = steps[here]?.parts.includes(name);
    const isLater = here !== null && step > here && !isHere;
    return element(
      "button",
      {
        type: "button",
        class: `part${isNew(since)}${isLater ? " later" : ""}`,
        "data-focus": `part-${name}`,
        "aria-current": isHere ? "step" : null,
        disabled: step < 0,
        onclick: () => chosen(step),
      },
      label,
    );
  }
}
