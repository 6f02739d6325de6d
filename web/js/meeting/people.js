// The list of people: who is here and how well, whom to keep large or to write to, and what whoever runs the room may do.

import { muteTrack, removeMember } from "./admin.js";
import { me, nameOf, others, sends } from "./call.js";
import { writeTo } from "./chat.js";
import { ask, byId, el, hueOf, icon, initials } from "./dom.js";
import { isOn } from "./local.js";
import { explain } from "./messages.js";
import { announce, notify } from "./notices.js";
import { pin } from "./stage.js";
import { on, state } from "./state.js";

const PRESENCE = { lost: "reconnecting", connecting: "connecting" };
const QUALITY = { good: "good connection", fair: "fair connection", poor: "poor connection" };
const KIND = { whip: "a stream (WHIP)", local: "the server's test picture" };
/** Rows that are shown; a longer list says how many more there are. */
const ROWS = 200;

/** What the list said last: it is not built anew when nothing of it changed, so that the focus stays where it is. */
let last = "";

export function startPeople() {
  on("phase members quality local permissions panel view speakers", show);
}

function describe(member) {
  const self = member === me();
  const words = [];
  if (self) words.push("you");
  if (KIND[member.kind]) words.push(KIND[member.kind]);
  if (PRESENCE[member.presence]) words.push(PRESENCE[member.presence]);
  else if (QUALITY[member.quality]) words.push(QUALITY[member.quality]);
  if (state.recorders.has(member.identity)) words.push("records");
  const microphone = self ? isOn("microphone") : sends(member, "microphone");
  return { member, self, name: nameOf(member), words: words.join(" · "), microphone, screen: self ? isOn("screen") : sends(member, "screen"), pinned: state.pinned === member.identity };
}

function show() {
  if (state.phase !== "call" || state.panel !== "people") return;
  const all = [...(me() ? [me()] : []), ...others()].map(describe);
  const admin = state.room.permissions?.admin ?? false;
  const data = state.room.permissions?.data ?? false;
  const now = JSON.stringify([admin, data, all.map(({ member, ...rest }) => [member.identity, rest])]);
  const list = byId("people");
  if (now === last && list.childElementCount > 0) return;
  last = now;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.act : null;
  list.replaceChildren(...all.slice(0, ROWS).map((one) => row(one, { admin, data })));
  if (all.length > ROWS) list.append(el("li", { class: "hint", textContent: `and ${all.length - ROWS} more` }));
  if (focused) list.querySelector(`[data-act="${CSS.escape(focused)}"]`)?.focus();
}

function row({ member, self, name, words, microphone, screen, pinned }, { admin, data }) {
  const { identity } = member;
  const act = (kind, text, picture, run, pressed = null) =>
    el("button", { type: "button", class: "icon quiet", title: text, "aria-label": `${text}: ${name}`, "data-act": `${kind} ${identity}`, "aria-pressed": pressed === null ? null : String(pressed), onclick: run }, icon(picture));
  const buttons = [];
  if (!self) {
    buttons.push(act("pin", "Keep large", "pin", () => pin(identity), pinned));
    if (data && member.kind === "session") buttons.push(act("write", "Write to", "chat", () => writeTo(identity)));
    if (admin && microphone) buttons.push(act("mute", "Mute", "mic-off", () => mute(member)));
    if (admin) buttons.push(act("remove", "Remove", "close", () => remove(member)));
  }
  return el(
    "li",
    { class: "person", "data-identity": identity },
    el("span", { class: "face small", "data-hue": String(hueOf(name)), "aria-hidden": "true" }, el("span", { class: "initials", textContent: initials(name) })),
    el(
      "div",
      { class: "who" },
      el("span", { class: "name", textContent: name }),
      el("span", { class: "about" }, microphone ? "microphone on" : "muted", screen ? " · shares the screen" : "", words ? ` · ${words}` : ""),
    ),
    el("div", { class: "acts" }, ...buttons),
  );
}

async function mute(member) {
  try {
    for (const track of member.tracks.values()) if (track.kind === "audio" && track.source === "microphone" && !track.muted) await muteTrack(member.identity, track.id);
    announce(`${nameOf(member)} is muted`);
  } catch (error) {
    const { title, detail } = explain(error);
    notify("admin", { level: "error", title: `${nameOf(member)} was not muted: ${title.toLowerCase()}`, detail });
  }
}

async function remove(member) {
  const name = nameOf(member);
  if (!(await ask({ title: `Remove ${name}?`, detail: "Their session ends. With a valid token or link they can come back.", yes: "Remove" }))) return;
  try {
    await removeMember(member.identity);
  } catch (error) {
    const { title, detail } = explain(error);
    notify("admin", { level: "error", title: `${name} was not removed: ${title.toLowerCase()}`, detail });
  }
}
