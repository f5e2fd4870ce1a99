/** The libraries that index.html loads before the page's modules, as globals. */

/** @type {any} */
const { d3, Plot } = globalThis;

export { d3, Plot };
