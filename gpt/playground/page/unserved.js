/* Not a module: browsers load modules only from a server. */
if (location.protocol === "file:") {
  document.getElementById("failure").textContent =
    "Browsers open this page only from a server: run python -m http.server in its folder, " +
    "then open http://localhost:8000.";
}
