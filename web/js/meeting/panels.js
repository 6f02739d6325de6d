// The panel at the side (below the pictures' place on a phone): one of chat, people, link, connection and settings at a time.

import { byId, say } from "./dom.js";
import { changed, state } from "./state.js";

const TITLES = { chat: "Chat", people: "People", share: "Link and QR code", stats: "Connection", settings: "Settings" };
/** What had the focus before the panel was opened: it gets it back. */
let opener = null;

export function startPanels() {
  for (const button of document.querySelectorAll("button.opens")) button.addEventListener("click", () => togglePanel(button.dataset.panel));
  byId("close-panel").addEventListener("click", closePanel);
  byId("panel").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    closePanel();
  });
}

export function togglePanel(name) {
  if (state.panel === name) closePanel();
  else openPanel(name);
}

export function openPanel(name) {
  if (state.panel === null) opener = document.activeElement;
  state.panel = name;
  show();
  (name === "chat" ? byId("chat-text") : byId("panel-title")).focus({ preventScroll: true });
}

export function closePanel() {
  if (state.panel === null) return;
  const name = state.panel;
  const inside = byId("panel").contains(document.activeElement);
  state.panel = null;
  show();
  if (!inside) return;
  const back = opener?.isConnected && opener.offsetParent !== null ? opener : document.querySelector(`button.opens[data-panel="${name}"]`);
  (back?.offsetParent ? back : byId("more")).focus();
}

function show() {
  const name = state.panel;
  byId("panel").hidden = name === null;
  byId("call").classList.toggle("with-panel", name !== null);
  if (name) say(byId("panel-title"), TITLES[name]);
  for (const key of Object.keys(TITLES)) byId(`panel-${key}`).hidden = key !== name;
  for (const button of document.querySelectorAll("button.opens")) button.setAttribute("aria-expanded", String(button.dataset.panel === name));
  changed("panel");
}
