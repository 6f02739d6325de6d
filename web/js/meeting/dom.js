// Small helpers for elements. Text goes into elements as text only: nothing that a member wrote becomes markup.

export const byId = (id) => document.getElementById(id);

/** Changes a text only when it differs, so that screen readers and selections are left in peace. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An element with properties (`class`, `data-*` and `aria-*` as attributes) and children. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of the page's sprite. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** Gives a button another icon and text; `pressed` (true, false) says its state to screen readers, null has none. */
export function face(button, { icon: name, text, pressed = null }) {
  if (name) {
    const use = button.querySelector("use");
    if (use.getAttribute("href") !== `#i-${name}`) use.setAttribute("href", `#i-${name}`);
  }
  if (text) say(button.querySelector("span"), text);
  if (pressed !== null) button.setAttribute("aria-pressed", String(pressed));
}

/** One or two letters that stand for a name. */
export function initials(name) {
  const words = name.trim().split(/[\s._~-]+/u).filter(Boolean);
  const first = (word) => [...(word ?? "")][0] ?? "";
  const letters = words.length > 1 ? first(words[0]) + first(words[words.length - 1]) : first(words[0]);
  return letters.toLocaleUpperCase() || "?";
}

/** One of eight colours, the same for the same text in each page. */
export function hueOf(text) {
  let sum = 7;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 65_521;
  return sum % 8;
}

/** Asks a question in a dialog; gives whether the answer was yes. */
export function ask({ title, detail, yes }) {
  const dialog = byId("ask");
  say(byId("ask-title"), title);
  say(byId("ask-detail"), detail);
  say(byId("ask-yes"), yes);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
