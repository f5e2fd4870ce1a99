/** Attention maps, drawn on canvases. */
import { colour, columns as columnsOf, element, short } from "./dom.js";
import { d3 } from "./libraries.js";

/**
 * The weights of T rows and S columns, coloured as `strengths` says.
 * @typedef {{weights: Float32Array, T: number, S: number, isCausal: boolean}} Weights
 */

function colours() {
  const between = d3.interpolateRgb(colour("--cell"), colour("--look-colour"));
  const ramp = Array.from({ length: 256 }, (_, i) => {
    const { r, g, b } = d3.rgb(between(i / 255));
    return [r, g, b, 255];
  });
  const mono = getComputedStyle(document.body).getPropertyValue("--mono");
  return { ramp, ink: colour("--muted"), strong: colour("--ink"), mono };
}

/** Cells of a map; masked cells are left empty. */
function cells(context, { weights, T, S, isCausal }, left, top, size, ramp) {
  const image = new ImageData(S, T); // one pixel per cell, because there may be many thousands
  for (let t = 0; t < T; t++) {
    const row = weights.subarray(t * S, t * S + (isCausal ? t + 1 : S));
    for (const [s, strength] of strengths(row).entries())
      image.data.set(ramp[Math.round(255 * strength)], 4 * (t * S + s));
  }
  const pixels = element("canvas", { width: S, height: T });
  pixels.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = size < 1; // several cells share a pixel of the screen
  context.drawImage(pixels, left, top, S * size, T * size);
  if (size < 6) return;
  for (let i = 1; i < Math.max(S, T); i++) {
    context.clearRect(left + i * size - 0.5, top, 1, T * size); // a gap between cells that are large enough for one
    context.clearRect(left, top + i * size - 0.5, S * size, 1);
  }
}

function prepared(canvas, width, height) {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

/** How strongly to colour the weights of a row, from 0 to 1: relative to its largest. */
export function strengths(row) {
  const largest = Math.max(...row);
  return row.map((weight) => weight / largest);
}

/** Paint a map that is `width` wide. */
export function paint(canvas, /** @type {Weights} */ map, width) {
  const size = width / Math.max(map.T, map.S);
  const context = prepared(canvas, map.S * size, map.T * size);
  cells(context, map, 0, 0, size, colours().ramp);
}

export function labelWidths(rows, columns) {
  const longest = (words) => Math.max(...words.map((word) => columnsOf(short(word))));
  return { left: 14 + 7.5 * longest(rows), top: 14 + 7.5 * longest(columns) };
}

/** Paint a map with its rows and columns named, in a width of `room`, and a frame around the `chosen` row. */
export function large(canvas, /** @type {Weights} */ map, rows, columns, { room, chosen, labels }) {
  const { T, S } = map;
  const { left, top } = labels ?? { left: 0, top: 0 };
  const size = Math.min(30, (Math.min(room, 460) - left) / Math.max(T, S));
  const context = prepared(canvas, left + S * size, top + T * size);
  const { ramp, ink, strong, mono } = colours();
  cells(context, map, left, top, size, ramp);
  if (labels) {
    context.font = `${Math.min(13, size)}px ${mono}`;
    context.textBaseline = "middle";
    rows.forEach((word, t) => {
      context.fillStyle = t === chosen ? strong : ink;
      context.textAlign = "right";
      context.fillText(short(word), left - 6, top + (t + 0.5) * size);
    });
    columns.forEach((word, s) => {
      context.fillStyle = ink;
      context.save();
      context.translate(left + (s + 0.5) * size, top - 6);
      const isWord = columns.some((other) => other.length > 1);
      if (isWord) context.rotate(-Math.PI / 2);
      context.textAlign = isWord ? "left" : "center";
      context.fillText(short(word), 0, isWord ? 0 : -4);
      context.restore();
    });
  }
  if (chosen !== null) {
    context.strokeStyle = strong;
    context.lineWidth = 1.5;
    context.strokeRect(left + 0.75, top + chosen * size - 0.25, S * size - 1.5, Math.max(size, 2));
  }
  return { top, size, rows: T };
}
