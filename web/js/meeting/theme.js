// Dark and light: the system's choice, or the user's.

import { byId } from "./dom.js";
import { announce } from "./notices.js";
import { recall, remember } from "./store.js";

const NAMES = { system: "as the system", dark: "dark", light: "light" };
const ORDER = ["system", "dark", "light"];

let theme = "system";

export function startTheme() {
  const stored = recall("theme", "system");
  use(ORDER.includes(stored) ? stored : "system");
  byId("theme").addEventListener("click", nextTheme);
}

/** From the system's colours to dark, to light, and around. */
export function nextTheme() {
  use(ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length]);
  remember("theme", theme);
  announce(`Colours: ${NAMES[theme]}`);
}

function use(next) {
  theme = next;
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const button = byId("theme");
  button.setAttribute("aria-label", `Colours: ${NAMES[theme]}`);
  button.title = `Colours: ${NAMES[theme]}`;
}
