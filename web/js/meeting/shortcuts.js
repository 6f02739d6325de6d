// Keys that do what the buttons do, and the list of them.

import { leaveCall } from "./call.js";
import { toggleCamera, toggleFullScreen, toggleMicrophone, toggleScreen, toggleView } from "./controls.js";
import { ask, byId, el } from "./dom.js";
import { closePanel, togglePanel } from "./panels.js";
import { toggleRecording } from "./recorder.js";
import { state } from "./state.js";
import { recall } from "./store.js";
import { nextTheme } from "./theme.js";

/** Key, what it does in words, and the deed. Letters are compared without case; those with a modifier stay the browser's. */
const KEYS = [
  ["m", "Mute or unmute", toggleMicrophone],
  ["v", "Camera on or off", toggleCamera],
  ["s", "Share or stop sharing the screen", toggleScreen],
  ["g", "Grid or speaker view", toggleView],
  ["c", "Chat", () => togglePanel("chat")],
  ["p", "People", () => togglePanel("people")],
  ["l", "Link and QR code", () => togglePanel("share")],
  ["i", "Connection: live figures", () => togglePanel("stats")],
  [",", "Settings", () => togglePanel("settings")],
  ["r", "Record or stop", toggleRecording],
  ["f", "Full screen", toggleFullScreen],
  ["t", "Dark, light, or as the system", nextTheme],
  ["Escape", "Close the panel", closePanel],
  ["x", "Leave", askToLeave],
];

export function startShortcuts() {
  byId("shortcuts").append(
    ...[...KEYS.map(([key, words]) => [key === "Escape" ? "Esc" : key.toUpperCase(), words]), ["?", "This list"]].flatMap(([key, words]) => [
      el("dt", {}, el("kbd", { textContent: key })),
      el("dd", { textContent: words }),
    ]),
  );
  byId("open-help").addEventListener("click", showHelp);
  document.addEventListener("keydown", onKey);
}

function showHelp() {
  if (!byId("help").open) byId("help").showModal();
}

async function askToLeave() {
  if (await ask({ title: "Leave the call?", detail: "The others go on without you.", yes: "Leave" })) await leaveCall();
}

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  // What is typed into a field is text; keys of a dialog or of a list of choices are theirs.
  if (event.target.closest?.("input, textarea, select, dialog, [contenteditable]")) return;
  if (event.key === "?" && recall("shortcuts", true)) {
    event.preventDefault();
    showHelp();
    return;
  }
  // Who speaks to the computer, or hits keys by accident, can switch them off (WCAG 2.2, 2.1.4). Esc is none of them.
  if (state.phase !== "call" || (event.key !== "Escape" && !recall("shortcuts", true))) return;
  const entry = KEYS.find(([key]) => key === event.key || key === event.key.toLowerCase());
  if (!entry) return;
  event.preventDefault();
  entry[2]();
}
