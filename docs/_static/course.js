/* A live stage is as high as its content, which it tells, so that nothing scrolls but the page. */
addEventListener("message", ({ source, data }) => {
  for (const frame of liveFrames()) {
    if (frame.contentWindow !== source || !Number.isFinite(data?.height)) continue;
    frame.style.height = `${data.height}px`;
  }
});

/** @returns {any[]} */
function liveFrames() {
  return [...document.querySelectorAll("iframe.live")];
}

/* What the theme leaves out for screen readers, and for those who scroll with the keyboard. */
addEventListener("DOMContentLoaded", () => {
  document.querySelector(".sidebar-drawer")?.setAttribute("aria-label", "All pages");
  document.querySelector(".toc-drawer")?.setAttribute("aria-label", "This page");
  const focusable = () => {
    for (const wide of document.querySelectorAll(".highlight pre, div.math, .table-wrapper")) {
      wide.removeAttribute("tabindex");
      if (wide.scrollWidth > wide.clientWidth) wide.setAttribute("tabindex", "0");
    }
  };
  focusable();
  addEventListener("resize", focusable);
  addEventListener("load", () => globalThis.MathJax?.startup?.promise?.then(focusable)); // formulas are drawn late
});
