// The call itself: joins the room by the client library, and carries its events into the page's state. What is shown is the
// views' matter.

import { join } from "../../sdk/index.js";
import { roomUrl } from "./address.js";
import { otherKey } from "./encryption.js";
import { gone, mutedByOthers, publishAll, stopAll, takeOver } from "./local.js";
import { announce, notify, unnotify } from "./notices.js";
import { changed, state } from "./state.js";

/** Slots that are offered at the beginning. */
const AUDIO_SLOTS = 4;
const VIDEO_SLOTS = 9;

/** Members but this one, in the order in which they came. */
export const others = () => [...(state.room?.members?.values() ?? [])].filter((member) => !member.isMe);
export const me = () => state.room?.me ?? null;
/** What to call a member. */
export function nameOf(member) {
  if (member?.name) return member.name;
  // Identities that the server made up are long; four letters tell guests from each other.
  const made = /^guest-(.+)$/.exec(member?.identity ?? "guest-");
  return made ? `Guest ${made[1].replace(/[^A-Za-z0-9]/g, "").slice(0, 4)}` : member ? member.identity : "Guest";
}

const idOf = (thing) => (typeof thing === "object" && thing !== null ? (thing.id ?? thing.identity) : thing);

/** The slot in which a track is, or null. */
export function slotOf(track) {
  return (state.room?.slots ?? []).find((slot) => idOf(slot.track) === track.id) ?? null;
}

/** Whether a source of a member is there and not muted. */
export function sends(member, source) {
  return [...(member.tracks?.values() ?? [])].some((track) => track.source === source && !track.muted);
}

/** Joins with the tracks that the lobby opened. Throws what the client library throws where the node refuses. */
export async function joinCall(tracks) {
  state.phase = "joining";
  state.link = "connecting";
  changed("phase");
  let room;
  try {
    room = await join(roomUrl(), state.token || undefined, {
      ...(state.name ? { name: state.name } : {}),
      audioSlots: AUDIO_SLOTS,
      videoSlots: VIDEO_SLOTS,
      // Before anything is sent: not one frame leaves unencrypted.
      ...(state.passphrase ? { encryptionKey: state.passphrase } : {}),
      ...(state.config.ice_servers?.length ? { iceServers: state.config.ice_servers } : {}),
    });
  } catch (error) {
    for (const track of Object.values(tracks)) track?.stop();
    throw error;
  }
  state.room = room;
  state.link = room.state;
  state.phase = "call";
  // It may have been refused while the room was joined, before anybody listened.
  state.soundBlocked = room.audioBlocked;
  wire(room);
  takeOver(tracks);
  for (const topic of ["phase", "members", "slots", "permissions", "link", "sound"]) changed(topic);
  await publishAll();
}

function wire(room) {
  const also = (topics) => () => topics.forEach(changed);
  room.on("member", ({ member, joined }) => {
    if (joined && !member.isMe) announce(`${nameOf(member)} joined`);
    changed("members");
  });
  room.on("memberleft", ({ member }) => {
    if (state.pinned === member.identity) state.pinned = null;
    if (state.lastSpeaker === member.identity) state.lastSpeaker = null;
    state.recorders.delete(member.identity);
    announce(`${nameOf(member)} left`);
    changed("members");
  });
  room.on("slots", also(["slots"]));
  room.on("quality", also(["quality"]));
  room.on("room", also(["members"]));
  room.on("permissions", also(["permissions", "members", "local"]));
  room.on("speakers", () => {
    const loudest = others().filter((member) => member.speaking).sort((a, b) => a.level - b.level)[0];
    if (loudest) state.lastSpeaker = loudest.identity;
    changed("speakers");
  });
  room.on("muted", ({ publication, muted }) => mutedByOthers(publication.source, muted));
  room.on("unpublished", ({ publication }) => gone(publication));
  room.on("encryption", ({ slot, readable }) => otherKey(slot.member, !readable));
  room.on("audioblocked", ({ blocked }) => {
    state.soundBlocked = blocked;
    changed("sound");
  });
  room.on("state", ({ state: link, trouble }) => {
    state.link = link;
    state.trouble = trouble;
    changed("link");
  });
  room.on("tokenexpiring", ({ seconds }) =>
    notify("token", { level: "warning", title: "Your token expires soon", detail: `The session ends in about ${seconds} s. Ask whoever invited you for a new link.` }));
  room.on("closed", ({ reason, detail }) => over(reason, detail ?? ""));
}

/** Sends which members shall always have a slot. */
export function pinForServer() {
  const pinned = state.pinned && state.pinned !== me()?.identity ? [state.pinned] : [];
  // A refusal is no loss: the server's own choice stays.
  state.room?.subscribe("auto", { pinned }).catch(() => {});
}

/** Leaves the room by the user's wish. */
export async function leaveCall() {
  const { room } = state;
  over("left", "");
  await room?.leave();
}

let ended = { reason: "", detail: "" };
export const whyOver = () => ended;

function over(reason, detail) {
  if (state.phase === "over") return;
  ended = { reason, detail };
  stopAll();
  unnotify("token");
  state.phase = "over";
  state.panel = null;
  changed("phase");
  changed("panel");
}
