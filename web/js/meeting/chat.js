// Chat: data messages of two topics, one for the room and one for a single member. What others wrote is shown as text; links
// in it are made by linkify.js.

import { nameOf, others } from "./call.js";
import { byId, el } from "./dom.js";
import { explain } from "./messages.js";
import { parts } from "./linkify.js";
import { announce } from "./notices.js";
import { openPanel } from "./panels.js";
import { changed, on, state } from "./state.js";

const TOPIC = "chat";
const PRIVATE_TOPIC = "chat-private";
/** Messages that are kept; the oldest go first. */
const KEPT = 500;
/** Longest message that is shown whole, in characters; the field takes fewer. */
const SHOWN_MAX = 8_000;

let wired = null;

export function startChat() {
  byId("chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void send();
  });
  const field = byId("chat-text");
  field.addEventListener("keydown", (event) => {
    // Enter sends, Shift+Enter begins a line; while an input method composes, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    void send();
  });
  field.addEventListener("input", () => {
    field.rows = Math.min(5, field.value.split("\n").length);
  });
  showEmpty();
  on("phase", () => {
    if (!state.room || state.room === wired) return;
    wired = state.room;
    state.room.on("data", receive);
  });
  on("members permissions phase", showReceivers);
  on("panel", () => {
    if (state.panel !== "chat" || state.unread === 0) return;
    state.unread = 0;
    changed("chat");
  });
}

/** Opens the chat with a receiver chosen. */
export function writeTo(identity) {
  openPanel("chat");
  byId("chat-to").value = identity;
}

function showEmpty() {
  byId("messages").append(el("p", { class: "hint empty-chat", textContent: "Messages reach those who are here now. Nothing is stored on the server." }));
}

function showReceivers() {
  if (state.phase !== "call") return;
  const select = byId("chat-to");
  const chosen = select.value;
  const known = others().map((member) => [member.identity, nameOf(member)]);
  const wanted = [["", "Everyone"], ...known];
  const same = select.options.length === wanted.length && wanted.every(([value, text], at) => select.options[at].value === value && select.options[at].text === text);
  if (!same) {
    select.replaceChildren(...wanted.map(([value, text]) => new Option(text, value)));
    select.value = wanted.some(([value]) => value === chosen) ? chosen : "";
  }
  const allowed = state.room?.permissions?.data ?? false;
  for (const id of ["chat-text", "chat-send", "chat-to"]) byId(id).disabled = !allowed;
  byId("chat-text").placeholder = allowed ? "Write a message" : "You may only read here";
}

async function send() {
  const field = byId("chat-text");
  const text = field.value.trim();
  if (!text || field.disabled) return;
  const to = byId("chat-to").value;
  const receiver = to ? state.room.members.get(to) : null;
  field.value = "";
  field.rows = 1;
  const line = add({ from: "You", text, mine: true, aside: to ? `to ${nameOf(receiver)} only` : "" });
  try {
    await state.room.send(to ? PRIVATE_TOPIC : TOPIC, text, to ? { to: [to] } : {});
  } catch (error) {
    const { title, detail } = explain(error);
    line.classList.add("failed");
    line.append(el("p", { class: "error", textContent: `Not sent. ${title}. ${detail}` }));
    // The text is not lost: it can be sent again.
    if (!field.value) field.value = text;
  }
}

function receive({ from, identity, topic, text }) {
  if (topic !== TOPIC && topic !== PRIVATE_TOPIC) return;
  if (typeof text !== "string" || text.trim() === "") return;
  // The server itself may write, too: whoever runs the room, by its API.
  const name = identity === null ? "Whoever runs the room" : nameOf(from ?? { identity });
  add({ from: name, text, aside: topic === PRIVATE_TOPIC ? "to you only" : "" });
  if (state.panel === "chat" && document.visibilityState === "visible") return;
  state.unread += 1;
  if (state.panel !== "chat") announce(`${name} writes: ${text.slice(0, 200)}`);
  changed("chat");
}

function add({ from, text, mine = false, aside = "" }) {
  const list = byId("messages");
  list.querySelector(".empty-chat")?.remove();
  const shown = text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
  const body = el("p", { class: "text" });
  for (const part of parts(shown)) {
    // A page that is opened from here learns nothing of this one: neither its address nor a handle on its window.
    body.append(part.href ? el("a", { href: part.href, target: "_blank", rel: "noopener noreferrer nofollow ugc", textContent: part.text }) : part.text);
  }
  const now = new Date();
  const time = el("time", { dateTime: now.toISOString(), textContent: now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) });
  const line = el("div", { class: mine ? "message mine" : "message" }, el("p", { class: "head" }, el("b", { textContent: from }), aside ? el("span", { class: "aside", textContent: aside }) : null, time), body);
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.append(line);
  while (list.childElementCount > KEPT) list.firstElementChild.remove();
  if (atEnd || mine) list.scrollTop = list.scrollHeight;
  return line;
}
