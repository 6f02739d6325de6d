// Notices that stay until they are closed, and announcements for screen readers.

import { byId, el, say } from "./dom.js";

const ANNOUNCEMENTS_MAX = 20;
const notices = new Map();

/**
 * Shows a notice, or changes the one of the same key. `level`: "info", "warning", "error". `action`: `{label, run}`.
 * `seconds`: it goes by itself.
 */
export function notify(key, { level = "info", title, detail = "", action = null, seconds = 0 }) {
  let notice = notices.get(key);
  if (!notice) {
    const close = el("button", { type: "button", class: "quiet close", textContent: "Close", onclick: () => unnotify(key) });
    close.setAttribute("aria-label", `Close: ${title}`);
    notice = el("div", { class: "notice", "data-key": key }, el("div", { class: "words" }, el("p", { class: "title" }), el("p", { class: "detail" })), close);
    notices.set(key, notice);
    byId("notices").append(notice);
  }
  clearTimeout(notice.timer);
  if (seconds > 0) notice.timer = setTimeout(() => unnotify(key), seconds * 1000);
  notice.dataset.level = level;
  say(notice.querySelector(".title"), title);
  say(notice.querySelector(".detail"), detail);
  notice.querySelector(".action")?.remove();
  if (action) notice.querySelector(".close").before(el("button", { type: "button", class: "action", textContent: action.label, onclick: action.run }));
}

/** Takes a notice away. */
export function unnotify(key) {
  clearTimeout(notices.get(key)?.timer);
  notices.get(key)?.remove();
  notices.delete(key);
}

/** Says something to those who do not see the page. The oldest go when there are many. */
export function announce(text) {
  const log = byId("announce");
  log.append(el("p", { textContent: text }));
  while (log.childElementCount > ANNOUNCEMENTS_MAX) log.firstElementChild.remove();
}
