// Before the call: the room's name, then one's own, the devices, a look at oneself, and joining with them on or off.

import { claims, newRoomName, ROOM_NAME, usePassphrase, useToken } from "./address.js";
import { canChooseSpeaker, listDevices, Meter, openCamera, openMicrophone } from "./devices.js";
import { byId, face, say } from "./dom.js";
import { explainDevice } from "./messages.js";
import { notify, unnotify } from "./notices.js";
import { state } from "./state.js";
import { recall, remember } from "./store.js";

/** The first form: which room. */
export function showStart() {
  byId("start").hidden = false;
  const { demo_room: demo } = state.config;
  byId("demo-link").hidden = !demo;
  if (demo) byId("demo-link").href = `?room=${encodeURIComponent(demo)}`;
  const field = byId("room");
  field.value = recall("room", "");
  byId("new-room").addEventListener("click", () => {
    field.value = newRoomName();
    field.focus();
  });
  byId("start-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const room = field.value.trim();
    if (!ROOM_NAME.test(room)) return;
    remember("room", room);
    location.assign(`?room=${encodeURIComponent(room)}`);
  });
  field.focus();
}

const open = {
  camera: { track: null, wanted: false, button: "lobby-camera", names: ["camera", "camera-off"], text: "Camera" },
  microphone: { track: null, wanted: false, button: "lobby-mic", names: ["mic", "mic-off"], text: "Microphone" },
};
let meter = null;

/** Shows the lobby; `join({microphone, camera})` gets the tracks that are on. */
export function showLobby(join) {
  byId("lobby").hidden = false;
  say(byId("lobby-title"), `Ready to join “${state.roomName}”?`);
  fillIn();
  for (const source of Object.keys(open)) {
    open[source].wanted = recall(`${source}-on`, true) && window.isSecureContext;
    byId(open[source].button).addEventListener("click", () => set(source, !open[source].wanted));
    byId(source).addEventListener("change", () => choose(source));
  }
  byId("speaker").addEventListener("change", () => remember("speaker", byId("speaker").value));
  navigator.mediaDevices?.addEventListener?.("devicechange", refresh);
  if (!window.isSecureContext) notify("origin", { level: "warning", ...explainDevice({ name: "InsecureOriginError" }) });
  byId("lobby-form").addEventListener("submit", (event) => {
    event.preventDefault();
    leave(join);
  });
  void openWanted();
}

/** Shows the lobby again after a join that was refused: what was on is opened again, since the attempt gave it back. */
export function backToLobby() {
  byId("lobby").hidden = false;
  byId("token").value = state.token;
  navigator.mediaDevices?.addEventListener?.("devicechange", refresh);
  void openWanted();
}

function fillIn() {
  const { name, sub } = claims(state.token);
  const field = byId("name");
  // The name in a token is the one that the others see.
  field.value = name || recall("name", "") || sub || "";
  field.disabled = Boolean(name);
  byId("token-field").hidden = state.config.auth !== "token";
  byId("token").value = state.token;
  byId("passphrase").value = state.passphrase;
  byId("speaker-field").hidden = !canChooseSpeaker();
  // On a phone the button to join is to be seen without scrolling.
  byId("lobby-more").open = matchMedia("(min-width: 701px)").matches || state.passphrase !== "";
}

/** One after the other: browsers show one question at a time. */
async function openWanted() {
  show("camera");
  show("microphone");
  await refresh();
  for (const source of ["microphone", "camera"]) if (open[source].wanted) await set(source, true);
}

async function refresh() {
  for (const kind of ["camera", "microphone", "speaker"]) await listDevices(byId(kind), kind, recall(kind, ""));
}

async function choose(source) {
  remember(source, byId(source).value);
  if (open[source].wanted) {
    close(source);
    await set(source, true);
  }
}

async function set(source, on) {
  const one = open[source];
  one.wanted = on;
  unnotify(`device-${source}`);
  if (!on) close(source);
  else if (!one.track) {
    try {
      const id = recall(source, "");
      const track = await (source === "camera" ? openCamera(id) : openMicrophone(id));
      // The user may have changed their mind, or joined, while the browser asked.
      if (!one.wanted || byId("lobby").hidden) track.stop();
      else {
        one.track = track;
        // Names of devices are known from the first permission on.
        await refresh();
      }
    } catch (error) {
      one.wanted = false;
      const words = explainDevice(error, source);
      if (words) notify(`device-${source}`, { level: "warning", ...words });
    }
  }
  show(source);
}

function close(source) {
  open[source].track?.stop();
  open[source].track = null;
}

function show(source) {
  const one = open[source];
  const on = one.track !== null;
  face(byId(one.button), { icon: one.names[on ? 0 : 1], text: `${one.text} ${on ? "on" : "off"}`, pressed: on });
  if (source === "camera") {
    const video = byId("preview-video");
    video.srcObject = on ? new MediaStream([one.track]) : null;
    video.hidden = !on;
    byId("preview-veil").hidden = on;
    return;
  }
  meter?.stop();
  meter = on ? new Meter(one.track, showLevel) : null;
  if (!on) showLevel(0);
}

function showLevel(level) {
  const percent = Math.round(level * 100);
  byId("meter").setAttribute("aria-valuenow", String(percent));
  byId("meter-bar").style.width = `${percent}%`;
}

/** Takes the answers into the state, and hands over the tracks. */
function leave(join) {
  const name = byId("name").value.trim();
  if (!byId("name").disabled) remember("name", name);
  state.name = name;
  if (!byId("token-field").hidden) useToken(byId("token").value.trim());
  usePassphrase(byId("passphrase").value);
  for (const source of Object.keys(open)) remember(`${source}-on`, open[source].track !== null);
  meter?.stop();
  meter = null;
  byId("preview-video").srcObject = null;
  const tracks = { camera: open.camera.track, microphone: open.microphone.track };
  open.camera.track = null;
  open.microphone.track = null;
  navigator.mediaDevices?.removeEventListener?.("devicechange", refresh);
  join(tracks);
}
