// The page: reads the address, asks the node who is here, watches everyone, and sends what the user wants to send.
// Read it from `start` down.

import { Api, ApiError } from "./api.js";
import { startByHand } from "./byhand.js";
import { listDevices, openCamera, openScreen } from "./devices.js";
import { explain, explainDevice } from "./messages.js";
import { Publisher } from "./publisher.js";
import { byId, icon, notify, say, showLink, showSending, unnotify } from "./ui.js";
import { Viewer } from "./viewer.js";
import { sendableCodecs } from "./whip.js";

const POLL_MS = 2_000;
/** Pauses between polls while the node does not answer. */
const POLL_BACKOFF_MS = [2_000, 3_000, 5_000, 8_000, 15_000];
/** Ids of rooms and participants are 1 to 64 characters that a URL carries unescaped (RFC 3986 section 2.3). */
const ID = /^(?!\.{1,2}$)[A-Za-z0-9._~-]{1,64}$/;

const api = new Api();
const viewers = new Map();
let config = { auth: "none", version: "", ice_servers: [], demo_room: null };
let room = "";
let publisher = null;
let polled = { failures: 0, timer: 0, busy: false, asked: 0 };

start();

async function start() {
  exposeForTests();
  readAddress();
  fillIn();
  wire();
  startByHand(api, () => room);
  setInterval(measure, 1_000);
  // The room's list may be shown before the configuration is here only when no token is needed, so ask for that first.
  await loadConfig();
  poll();
}

// What the address says --------------------------------------------------------------------------------------------

function readAddress() {
  const query = new URLSearchParams(location.search);
  room = query.get("room") ?? "";
  // The token comes in the fragment, which browsers do not send; it is taken out of the address bar at once.
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token !== null) {
    sessionStorage.setItem("token", token);
    fragment.delete("token");
    const rest = fragment.toString();
    history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
  }
  api.token = sessionStorage.getItem("token") ?? "";
  if (!ID.test(room)) {
    if (room) {
      notify("room", { level: "warning", title: "That is no name for a room", detail: "Up to 64 letters, digits and the signs - _ . ~ are allowed. This is the room “demo”." });
    }
    room = "demo";
  }
  document.title = `${room} – Sfumato`;
}

function fillIn() {
  byId("room").value = room;
  byId("name").value = localStorage.getItem("name") ?? "";
  byId("token").value = api.token;
  const sendable = sendableCodecs();
  for (const option of byId("codec").options) {
    option.disabled = sendable.length > 0 && !sendable.includes(option.value);
    if (option.disabled) option.textContent += " (not in this browser)";
  }
}

async function loadConfig() {
  for (;;) {
    try {
      config = { ...config, ...(await api.config()) };
      break;
    } catch (error) {
      // An old or foreign server without this address still speaks WHIP and WHEP.
      if (error instanceof ApiError && error.status === 404) break;
      unreachable(error);
      await new Promise((resolve) => setTimeout(resolve, pollPause()));
    }
  }
  byId("token-field").hidden = config.auth !== "token";
  showIdentity();
  if (config.auth === "token" && !api.token) byId("token").focus();
}

/** A token that carries a name allows that name only. */
function showIdentity() {
  const { identity } = api;
  const field = byId("name");
  field.disabled = publisher !== null || typeof identity === "string";
  if (typeof identity === "string") field.value = identity;
}

function iceServers() {
  return Array.isArray(config.ice_servers) ? config.ice_servers : [];
}

// Who is here ------------------------------------------------------------------------------------------------------

function pollPause() {
  return POLL_BACKOFF_MS[Math.min(polled.failures, POLL_BACKOFF_MS.length) - 1] ?? POLL_MS;
}

async function poll() {
  clearTimeout(polled.timer);
  if (polled.busy) return;
  polled.busy = true;
  let pause = POLL_MS;
  const before = polled.asked;
  try {
    const participants = await api.participants(room);
    if (polled.failures > 0) {
      for (const { keeper } of [...viewers.values(), ...(publisher ? [publisher] : [])]) keeper.serverIsBack();
    }
    polled.failures = 0;
    unnotify("server");
    showLink("up", peopleText(participants));
    watch(participants);
  } catch (error) {
    unreachable(error);
    pause = Math.max(pollPause(), (error.retryAfterSeconds ?? 0) * 1000);
  }
  polled.busy = false;
  polled.timer = setTimeout(poll, before === polled.asked ? pause : 0);
}

/** Polls now: something changed that the list will show. */
function pollNow() {
  polled.asked += 1;
  poll();
}

function peopleText(participants) {
  const others = participants.filter(({ id }) => id !== publisher?.participant).length;
  if (publisher) return others === 0 ? "Only you are here" : `You and ${others} more`;
  return others === 0 ? "Nobody is here" : others === 1 ? "One is here" : `${others} are here`;
}

function unreachable(error) {
  polled.failures += 1;
  const { title, detail } = explain(error);
  const refused = error instanceof ApiError && (error.status === 401 || error.status === 403);
  showLink("down", refused ? "Not let in" : "Reconnecting…");
  if (refused) askForToken();
  // One poll that goes astray is not worth a word.
  if (refused || error.status === 429 || polled.failures > 1) notify("server", { level: "error", title, detail });
}

function askForToken() {
  byId("token-field").hidden = false;
  byId("token").setAttribute("aria-invalid", "true");
}

/** With a nameless token the node makes up our name: the guest that was not there before we came. */
function findOneself(participants) {
  const mine = participants.filter(({ id, connected }) => connected && id.startsWith("guest-") && !publisher.seenBefore.has(id));
  if (mine.length === 1) {
    publisher.rename(mine[0].id);
    showPublisher();
  }
  return mine;
}

function watch(participants) {
  if (publisher?.participant === "") {
    const perhapsMine = publisher.keeper.session?.state === "connected" ? findOneself(participants) : participants.filter(({ id }) => !publisher.seenBefore.has(id));
    participants = participants.filter((entry) => !perhapsMine.includes(entry));
  }
  const here = new Map(participants.filter(({ id }) => typeof id === "string" && id !== publisher?.participant).map((entry) => [entry.id, entry]));
  for (const [id, viewer] of viewers) {
    if (here.has(id)) continue;
    viewer.stop();
    viewers.delete(id);
  }
  for (const [id, entry] of here) {
    if (!viewers.has(id)) viewers.set(id, new Viewer({ api, room, participant: id, iceServers: iceServers(), onSilenced: offerSound }));
    viewers.get(id).update(entry);
  }
  showEmpty();
}

function showEmpty() {
  byId("empty").hidden = viewers.size > 0 || publisher !== null;
}

function retryEveryone() {
  for (const { keeper } of viewers.values()) keeper.retryNow();
  publisher?.keeper.retryNow();
}

function offerSound() {
  notify("sound", {
    title: "The sound is off",
    detail: "This browser plays sound only after a click.",
    action: {
      label: "Turn it on",
      run: () => {
        for (const { tile } of viewers.values()) tile.setMuted(false);
        unnotify("sound");
      },
    },
  });
}

// Sending ----------------------------------------------------------------------------------------------------------

/** The id that others see: what the user typed, in the characters that ids may have, or a guest's. */
function participantName() {
  if (typeof api.identity === "string") return api.identity;
  if (api.identity === null) return "";
  const typed = byId("name").value.trim();
  localStorage.setItem("name", typed);
  const plain = typed
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/[^A-Za-z0-9._~-]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 48);
  return ID.test(plain) ? plain : `guest-${randomTail()}`;
}

function randomTail() {
  const bytes = crypto.getRandomValues(new Uint8Array(2));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function send(what) {
  for (const key of ["device", "publish", "name"]) unnotify(key);
  const buttons = [byId("start-camera"), byId("start-screen")];
  for (const button of buttons) button.disabled = true;
  try {
    const ids = { cameraId: byId("camera").value, microphoneId: byId("microphone").value };
    const { stream, missing } = await (what === "camera" ? openCamera(ids) : openScreen());
    if (missing) notify("device", { level: "warning", title: `No ${missing} found`, detail: `Sending without a ${missing}.` });
    publish(what, stream, await freeName(participantName()));
    refreshDevices();
  } catch (error) {
    const words = explainDevice(error, what);
    if (words) notify("device", { level: "error", ...words });
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

/** A name that somebody else has is not worth stopping for: the same with a tail. One's own old session is simply replaced. */
async function freeName(wanted) {
  if (api.identity !== undefined || sessionStorage.getItem("sending-as") === `${room}/${wanted}`) return wanted;
  const here = await api.participants(room).catch(() => []);
  if (!here.some(({ id }) => id === wanted)) return wanted;
  const another = `${wanted.slice(0, 48)}-${randomTail()}`;
  notify("name", { level: "info", title: `“${wanted}” is taken`, detail: `You appear as “${another}”.` });
  return another;
}

function publish(what, stream, participant) {
  sessionStorage.setItem("sending-as", `${room}/${participant}`);
  const options = {
    codec: byId("codec").value,
    // A screen is mostly text: small pictures of it are of no use.
    simulcast: what === "camera" && byId("simulcast").checked,
    cameraId: byId("camera").value,
  };
  // If somebody of this name is in the list (an old session of ours, perhaps), they are not to be watched any more.
  viewers.get(participant)?.stop();
  viewers.delete(participant);
  publisher = new Publisher({ api, room, participant, iceServers: iceServers(), stream, what, options });
  publisher.seenBefore = new Set(viewers.keys());
  publisher.addEventListener("change", showPublisher);
  publisher.addEventListener("over", stopSending);
  showPublisher();
  showEmpty();
}

function stopSending() {
  publisher?.stop();
  publisher = null;
  unnotify("publish");
  showPublisher();
  showEmpty();
  pollNow();
}

function showPublisher() {
  const on = publisher !== null;
  byId("start-camera").hidden = on;
  byId("start-screen").hidden = on;
  byId("stop").hidden = !on;
  byId("name").disabled = on || typeof api.identity === "string";
  byId("controls").classList.toggle("on-air", on);
  byId("toggle-mic").hidden = !on || !publisher.hasSound;
  byId("toggle-camera").hidden = !on || publisher.what !== "camera" || !publisher.sessionOptions.video;
  if (!on) {
    showSending("");
    return;
  }
  toggle(byId("toggle-mic"), publisher.muted, publisher.muted ? ["mic-off", "Unmute"] : ["mic", "Mute"]);
  toggle(byId("toggle-camera"), publisher.cameraOff, publisher.cameraOff ? ["camera-off", "Camera on"] : ["camera", "Camera off"]);
  const { session, error, stuck } = publisher.keeper;
  if (publisher.displaced) {
    const detail = `Somebody else sends as “${publisher.participant}” now, perhaps you in another window.`;
    notify("publish", { level: "warning", title: "You were replaced", detail, action: { label: "Take it back", run: takeBack } });
  } else if (error && session?.state !== "connected") {
    notify("publish", { level: "error", ...explain(error), action: stuck ? { label: "Try again", run: () => publisher?.keeper.retryNow() } : null });
    if (error.cause instanceof ApiError && [401, 403].includes(error.cause.status)) askForToken();
  } else if (session?.state === "connected") unnotify("publish");
  const thing = publisher.what === "camera" ? (publisher.sessionOptions.video ? "your camera" : "your voice") : "your screen";
  const words = {
    connected: `Everyone in “${room}” sees ${thing}${publisher.participant && ` as “${publisher.participant}”`}.`,
    recovering: "The connection was interrupted. Mending it…",
    closed: stuck ? "Not sending." : "Not sending at the moment. Trying again…",
  };
  const text = publisher.what === "camera" && !publisher.sessionOptions.video ? words.connected.replace("sees", "hears") : words.connected;
  showSending(session?.state === "connected" ? text : (words[session?.state] ?? "Connecting…"));
}

function takeBack() {
  if (!publisher) return;
  publisher.displaced = false;
  publisher.keeper.retryNow();
}

function toggle(button, pressed, [picture, label]) {
  icon(button, picture);
  say(button.querySelector("span"), label);
  button.classList.toggle("off", pressed);
}

async function toggleCamera() {
  const button = byId("toggle-camera");
  button.disabled = true;
  try {
    unnotify("device");
    await publisher?.setCameraOff(!publisher.cameraOff);
  } catch (error) {
    const words = explainDevice(error, "camera");
    if (words) notify("device", { level: "error", ...words });
  } finally {
    button.disabled = false;
  }
}

function useToken() {
  const field = byId("token");
  if (field.value.trim() === api.token) return;
  api.token = field.value.trim();
  sessionStorage.setItem("token", api.token);
  field.removeAttribute("aria-invalid");
  unnotify("server");
  showIdentity();
  // TURN servers are told to those who have a token only.
  api.config().then((fresh) => Object.assign(config, fresh), () => {});
  polled.failures = 0;
  retryEveryone();
  pollNow();
}

// The page's own doings --------------------------------------------------------------------------------------------

function refreshDevices() {
  listDevices(byId("camera"), "videoinput");
  listDevices(byId("microphone"), "audioinput");
}

let measuredAt = 0;

async function measure() {
  // Timers that were held up come in a row; figures of so short a time say nothing.
  if (performance.now() - measuredAt < 500) return;
  measuredAt = performance.now();
  await Promise.all([publisher?.measure(), ...[...viewers.values()].map((viewer) => viewer.measure())]);
}

function wire() {
  byId("start-camera").addEventListener("click", () => send("camera"));
  byId("start-screen").addEventListener("click", () => send("screen"));
  byId("stop").addEventListener("click", () => {
    stopSending();
    byId("start-camera").focus();
  });
  byId("toggle-mic").addEventListener("click", () => publisher?.setMuted(!publisher.muted));
  byId("toggle-camera").addEventListener("click", toggleCamera);
  byId("open-settings").addEventListener("click", (event) => {
    const panel = byId("settings");
    panel.hidden = !panel.hidden;
    event.currentTarget.setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) refreshDevices();
  });
  byId("token").addEventListener("change", useToken);
  byId("token-field").addEventListener("submit", (event) => {
    event.preventDefault();
    useToken();
  });
  navigator.mediaDevices?.addEventListener?.("devicechange", refreshDevices);
  if (!window.isSecureContext) {
    notify("origin", { level: "warning", ...explainDevice({ name: "InsecureOriginError" }, "camera") });
    byId("start-camera").disabled = true;
    byId("start-screen").disabled = true;
  }
  if (!navigator.mediaDevices?.getDisplayMedia) byId("start-screen").disabled = true;
  addEventListener("online", () => {
    polled.failures = 0;
    retryEveryone();
    pollNow();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") pollNow();
  });
  addEventListener("pagehide", () => {
    publisher?.stop({ leaving: true });
    for (const viewer of viewers.values()) viewer.stop({ leaving: true });
    publisher = null;
    viewers.clear();
    clearTimeout(polled.timer);
  });
  addEventListener("pageshow", (event) => {
    // Back from the browser's cache with everything ended: begin anew.
    if (event.persisted) location.reload();
  });
}

/** What automated tests may look at; nothing in the page depends on it. */
function exposeForTests() {
  window.sfumato = {
    api,
    viewers,
    get room() {
      return room;
    },
    get config() {
      return config;
    },
    get publisher() {
      return publisher;
    },
    /** The peer connection by which a participant is watched, or by which one sends oneself. */
    pc: (participant) => (participant === publisher?.participant ? publisher.pc : (viewers.get(participant)?.pc ?? null)),
  };
}
