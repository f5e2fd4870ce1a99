/**
 * Vectors as strips of cells, coloured by sign and size. Each shows one of its numbers, the first until the reader points
 * at another cell or steps to it; strips of one step that are equally long show the same one, so that a column adds up.
 */
/** @import { Values } from "./predictions.js" */
import { colour as colourOf, element } from "./dom.js";
import { d3 } from "./libraries.js";

const NUMBERED = 256; // numbers, at most, that have a cell each; a longer vector is a picture
const PRECISION = 4; // decimals
const LARGE = 1e6; // from here on, as a power of ten

/** A number as it is shown, with a minus sign as wide as its digits. */
export function shownNumber(x, decimals = PRECISION) {
  const size = Math.abs(x);
  const [rounded, sign] = [size < LARGE ? size.toFixed(decimals) : size.toExponential(decimals), x < 0 ? "−" : ""];
  return Number(rounded) === 0 ? rounded : sign + rounded;
}

const showing = new WeakMap(); // from the cells of a strip to what shows one of its numbers

/**
 * The strip of a vector, named as in the stage's code. `after` is the operation that makes it of the one above, such as
 * "+"; `largest` what has the full colour, in strips that are compared; `labels` name its numbers, which are counted
 * otherwise.
 * @param {Values} values
 */
export function strip(name, values, { after = "", largest = sizeOf(values), path = name, labels = null } = {}) {
  const number = element("span", { class: "strip-number", "aria-live": "polite" });
  const show = (i) => {
    number.replaceChildren(element("small", {}, labels?.[i] ?? `number ${i + 1}`), ` ${shownNumber(values[i])}`);
  };
  const [least, most] = [Math.min(...values), Math.max(...values)].map((x) => shownNumber(x, 2));
  const range = `${values.length} numbers from ${least} to ${most}`;
  const isPicture = values.length > NUMBERED;
  const label = `${name}: ${range}.${isPicture ? "" : " Use the arrow keys to read each."}`;
  const attributes = { role: "img", tabindex: "0", "aria-label": label };
  const cells = isPicture ? picture(values, largest, attributes) : numbered(values, largest, show, attributes);
  return element(
    "div",
    { class: "strip", "data-path": path },
    element("span", { class: "operation", "aria-hidden": "true" }, after),
    element("span", { class: "strip-name" }, name, element("small", {}, ` (${values.length})`)),
    cells,
    number,
  );
}

/** What strips of these vectors give the full colour to. */
export function sizeOf(/** @type {Values[]} */ ...vectors) {
  let size = 1e-9;
  for (const values of vectors) for (const x of values) size = Math.max(size, Math.abs(x));
  return size;
}

/** A number as a cell, whose full colour is that of `largest`. */
export function cell(x, largest) {
  const made = element("i", { class: x < 0 ? "minus" : null });
  colour(made, x, largest);
  return made;
}

/** Colour a cell by the size of another number of the same sign. */
export function colour(made, x, largest) {
  made.style.setProperty("--x", (Math.abs(x) / largest).toFixed(3));
}

function numbered(values, largest, show, attributes) {
  const chosen = () => Math.max(0, [...cells.children].indexOf(cells.querySelector(".chosen")));
  const choose = (i) => {
    const step = cells.closest(".step");
    for (const others of step.querySelectorAll(".cells"))
      if (others.children.length === values.length) showing.get(others)(i);
  };
  const cells = element(
    "span",
    {
      ...attributes,
      class: "cells",
      onpointerover: ({ target }) => target !== cells && choose([...cells.children].indexOf(target)),
      onkeydown: (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        choose(Math.min(Math.max(chosen() + step, 0), values.length - 1));
      },
    },
    ...Array.from(values, (x) => cell(x, largest)),
  );
  cells.style.setProperty("--columns", String(Math.min(values.length, 32)));
  showing.set(cells, (i) => {
    cells.querySelector(".chosen")?.classList.remove("chosen");
    cells.children[i].classList.add("chosen");
    show(i);
  });
  showing.get(cells)(0);
  return cells;
}

function picture(values, largest, attributes) {
  const [columns, rows] = [128, Math.ceil(values.length / 128)];
  const canvas = element("canvas", { ...attributes, class: "cells picture", width: columns, height: rows });
  const colours = ["--minus", "--plus"].map((name) => d3.interpolateRgb(colourOf("--cell"), colourOf(name)));
  const image = new ImageData(columns, rows);
  values.forEach((x, i) => {
    const { r, g, b } = d3.rgb(colours[x < 0 ? 0 : 1](Math.min(1, Math.abs(x) / largest)));
    image.data.set([r, g, b, 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
