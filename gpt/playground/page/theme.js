/**
 * Light, dark, or the system's choice. The key and its values are those of the documentation's theme (Furo), so that a
 * page inside a page of the documentation follows it.
 */
const KEY = "theme";
const CHOICES = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

/** Where the choice is kept; an object that forgets it if storage is denied. */
function storage() {
  try {
    return localStorage;
  } catch {
    return {};
  }
}

/** Make `button` choose the next theme, and follow choices made elsewhere; calls `changed`. */
export function connect(button, changed) {
  const show = (wanted) => {
    const theme = CHOICES.includes(wanted) ? wanted : "auto";
    document.documentElement.dataset.theme = theme;
    button.textContent = SIGNS[theme];
    button.ariaLabel = button.title = `Colours: ${theme}`;
    changed();
  };
  button.addEventListener("click", () => {
    const next = CHOICES[(CHOICES.indexOf(document.documentElement.dataset.theme) + 1) % CHOICES.length];
    storage()[KEY] = next;
    show(next);
  });
  addEventListener("storage", (event) => event.key === KEY && show(event.newValue));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show(storage()[KEY]);
}
