// What the views show, and who is told when it changes. The room's own state (members, slots, speakers) stays in the client
// library's room object; here is what the page adds to it.

export const state = {
  /** "start", "lobby", "joining", "call" or "over" */
  phase: "start",
  /** The name of the room. */
  roomName: "",
  /** What `GET /api/config` told. */
  config: { auth: "none", version: "", ice_servers: [], demo_room: null },
  token: "",
  name: "",
  passphrase: "",
  /** The client library's room while in a call. */
  room: null,
  /** "connecting", "connected", "reconnecting" or "closed" */
  link: "connecting",
  /** "grid" or "speaker" */
  view: "grid",
  /** Identity of the member whose picture is kept large, or null. */
  pinned: null,
  /** Identity of the other member who spoke last, or null. */
  lastSpeaker: null,
  /** The open panel: "chat", "people", "share", "stats", "settings" or null. */
  panel: null,
  unread: 0,
  /** Identities of members who told that they record. */
  recorders: new Set(),
  recording: false,
  /** Size of the present recording. */
  recordedBytes: 0,
  /** Identities of members whose picture and sound cannot be decrypted. */
  otherKeys: new Set(),
  /** The browser holds the sound back until the user does something. */
  soundBlocked: false,
  /** What the link lacks while it is not whole: "media-blocked", "media", "events", "node" or null. */
  trouble: null,
};

const handlers = new Map();
const due = new Set();

/**
 * Calls `handler` after a change of a topic: "phase", "members", "slots", "speakers", "quality", "local", "view", "panel",
 * "link", "chat", "encryption", "recording", "permissions", "sound".
 */
export function on(topics, handler) {
  for (const topic of topics.split(" ")) {
    if (!handlers.has(topic)) handlers.set(topic, new Set());
    handlers.get(topic).add(handler);
  }
}

/** Says that a topic changed. Handlers run once for all changes of the same moment. */
export function changed(topic) {
  if (due.size === 0) queueMicrotask(flush);
  due.add(topic);
}

function flush() {
  const run = new Set();
  for (const topic of due) for (const handler of handlers.get(topic) ?? []) run.add(handler);
  due.clear();
  for (const handler of run) {
    try {
      handler();
    } catch (error) {
      // One view's defect must not take the others with it.
      reportError(error);
    }
  }
}
