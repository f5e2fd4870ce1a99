/* A live stage is as high as its content, which it tells, so that nothing scrolls but the page. */
addEventListener("message", ({ source, data }) => {
  for (const frame of document.querySelectorAll("iframe.live")) {
    if (frame.contentWindow === source && Number.isFinite(data?.height)) frame.style.height = `${data.height}px`;
  }
});
