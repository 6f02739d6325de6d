// The page's address: which room, and what the fragment carries (browsers do not send it to the server).

import { state } from "./state.js";
import { recallHere, rememberHere } from "./store.js";

/** Ids of rooms are 1 to 64 characters that a URL carries unescaped (RFC 3986 section 2.3). */
export const ROOM_NAME = /^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,64}$/;

/** Reads room, token and passphrase into the state. Gives false where the address names a room that cannot be. */
export function readAddress() {
  const query = new URLSearchParams(location.search);
  const room = query.get("room") ?? "";
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  const key = fragment.get("key");
  if (token !== null) rememberHere("token", token);
  if (key !== null) rememberHere(`key.${room}`, key);
  if (token !== null || key !== null) {
    // Secrets leave the address bar at once: bookmarks, screenshots and shared screens would show them.
    fragment.delete("token");
    fragment.delete("key");
    const rest = fragment.toString();
    history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
  }
  state.token = recallHere("token");
  state.passphrase = recallHere(`key.${room}`);
  state.roomName = ROOM_NAME.test(room) ? room : "";
  return room === "" || state.roomName !== "";
}

export function useToken(token) {
  state.token = token;
  rememberHere("token", token);
}

export function usePassphrase(passphrase) {
  state.passphrase = passphrase;
  rememberHere(`key.${state.roomName}`, passphrase);
}

/** The address of the room in the session API. */
export function roomUrl() {
  return `${location.origin}/v1/rooms/${encodeURIComponent(state.roomName)}`;
}

/**
 * The link that others open. The token is never in it: it may carry this member's own name and rights. `withKey`: the
 * passphrase is in the fragment.
 */
export function joinLink({ withKey = false } = {}) {
  const url = new URL(location.pathname, location.origin);
  url.searchParams.set("room", state.roomName);
  if (withKey && state.passphrase) url.hash = new URLSearchParams({ key: state.passphrase }).toString();
  return url.href;
}

/** What a token says, without checking it (the server does): `{sub, name}` where it has them. */
export function claims(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0))));
  } catch {
    return {};
  }
}

/** A room name that is easy to say and hard to guess. */
export function newRoomName() {
  const syllables = ["ba", "de", "fi", "go", "ha", "ju", "ka", "le", "mi", "no", "pa", "ro", "sa", "te", "vi", "zu"];
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  const all = [...bytes].map((byte) => syllables[byte % 16]);
  return [0, 3, 6].map((at) => all.slice(at, at + 3).join("")).join("-");
}
