// The buttons below the pictures, and the state of the link above them.

import { leaveCall, others } from "./call.js";
import { canShareScreen } from "./devices.js";
import { byId, face, say } from "./dom.js";
import { isBusy, isOn, mayPublish, setCamera, setMicrophone, setScreen } from "./local.js";
import { announce } from "./notices.js";
import { toggleRecording } from "./recorder.js";
import { switchView } from "./stage.js";
import { on, state } from "./state.js";

export function startControls() {
  byId("mic").addEventListener("click", toggleMicrophone);
  byId("cam").addEventListener("click", toggleCamera);
  byId("share-screen").addEventListener("click", toggleScreen);
  byId("view").addEventListener("click", toggleView);
  byId("record").addEventListener("click", toggleRecording);
  byId("full").addEventListener("click", toggleFullScreen);
  byId("leave").addEventListener("click", leaveCall);
  byId("more").addEventListener("click", () => showMenu(byId("more-menu").hidden));
  byId("more-menu").addEventListener("click", () => showMenu(false));
  document.addEventListener("click", (event) => {
    if (!byId("more-menu").hidden && !event.target.closest("#more-menu, #more")) showMenu(false);
  });
  byId("controls").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !byId("more-menu").hidden) {
      event.stopPropagation();
      showMenu(false);
      byId("more").focus();
    }
  });
  const narrow = matchMedia("(max-width: 700px)");
  narrow.addEventListener("change", () => settle(narrow.matches));
  settle(narrow.matches);
  byId("full").hidden = !document.fullscreenEnabled;
  byId("share-screen").hidden = !canShareScreen();
  on("phase local permissions view link members chat recording", show);
}

export const toggleMicrophone = () => setMicrophone(!isOn("microphone"));
export const toggleCamera = () => setCamera(!isOn("camera"));
export const toggleScreen = () => (canShareScreen() ? setScreen(!isOn("screen")) : undefined);

export function toggleView() {
  switchView();
  announce(state.view === "speaker" ? "Speaker view" : "Grid view");
}

export function toggleFullScreen() {
  if (document.fullscreenElement) void document.exitFullscreen();
  else document.documentElement.requestFullscreen?.().catch(() => {});
}

/** On a narrow screen the buttons that are needed least go into the menu. */
function settle(narrow) {
  const moved = [byId("share-screen"), byId("view")];
  if (narrow) byId("more-menu").prepend(...moved);
  else byId("cam").after(...moved);
}

function showMenu(open) {
  byId("more-menu").hidden = !open;
  byId("more").setAttribute("aria-expanded", String(open));
  if (open) [...byId("more-menu").children].find((button) => !button.hidden)?.focus();
}

const LINK = { connecting: ["wait", "Connecting…"], reconnecting: ["down", "Reconnecting…"], closed: ["down", "Not connected"] };

function show() {
  const inCall = state.phase === "call";
  byId("controls").hidden = !inCall;
  byId("link").hidden = !inCall;
  if (!inCall) return;
  const mic = isOn("microphone");
  face(byId("mic"), { icon: mic ? "mic" : "mic-off", text: mic ? "Mute" : "Unmute", pressed: !mic });
  const camera = isOn("camera");
  face(byId("cam"), { icon: camera ? "camera" : "camera-off", text: camera ? "Camera off" : "Camera on", pressed: !camera });
  const screen = isOn("screen");
  face(byId("share-screen"), { text: screen ? "Stop sharing" : "Share screen", pressed: screen });
  for (const [button, source] of [["mic", "microphone"], ["cam", "camera"], ["share-screen", "screen"]]) {
    const allowed = mayPublish(source);
    byId(button).disabled = !allowed || isBusy(source) || !navigator.mediaDevices;
    byId(button).title = allowed ? "" : "Your token does not allow this";
  }
  const speaker = state.view === "speaker";
  face(byId("view"), { icon: speaker ? "grid" : "speaker", text: speaker ? "Grid view" : "Speaker view", pressed: speaker });
  face(byId("record"), { text: state.recording ? "Stop recording" : "Record", pressed: state.recording });
  const count = others().length + 1;
  say(byId("count"), String(count));
  byId("open-people").setAttribute("aria-label", `People, ${count} here`);
  byId("unread").hidden = state.unread === 0;
  say(byId("unread"), state.unread > 99 ? "99+" : String(state.unread));
  byId("open-chat").setAttribute("aria-label", state.unread ? `Chat, ${state.unread} unread` : "Chat");
  const [lamp, text] = LINK[state.link] ?? ["up", "Connected"];
  byId("link").dataset.state = lamp;
  say(byId("link-text"), text);
}
