// The page of a meeting: which room, the lobby, the call, and its end. Read it from `start` down.

import { readAddress, useToken } from "./address.js";
import { joinCall, whyOver } from "./call.js";
import { startChat } from "./chat.js";
import { startConnection } from "./connection.js";
import { startControls } from "./controls.js";
import { byId, say } from "./dom.js";
import { startEncryption } from "./encryption.js";
import { backToLobby, showLobby, showStart } from "./lobby.js";
import { explain, explainClosed } from "./messages.js";
import { announce, notify, unnotify } from "./notices.js";
import { startPanels } from "./panels.js";
import { startPeople } from "./people.js";
import { startRecorder } from "./recorder.js";
import { startSettings, useSpeaker } from "./settings.js";
import { startShare } from "./share.js";
import { startShortcuts } from "./shortcuts.js";
import { startStage } from "./stage.js";
import { changed, on, state } from "./state.js";
import { recall } from "./store.js";
import { startTheme } from "./theme.js";

void start();

async function start() {
  window.sfumato = { state };
  for (const one of [startTheme, startPanels, startStage, startControls, startShortcuts, startChat, startPeople, startShare, startConnection, startRecorder, startEncryption, startSettings]) one();
  on("phase", showPhase);
  on("link", showLink);
  on("sound phase", showBlocked);
  on("chat", showTitle);
  on("phase", keepAwake);
  document.addEventListener("visibilitychange", keepAwake);
  byId("rejoin").addEventListener("click", () => location.reload());
  byId("unmute-page").addEventListener("click", playSound);
  if (!readAddress()) {
    notify("room", { level: "warning", title: "That is no name for a room", detail: "Up to 64 letters, digits and the signs - _ . ~ are allowed." });
  }
  await loadConfig();
  if (!state.roomName) showStart();
  else {
    showTitle();
    say(byId("room-name"), state.roomName);
    byId("room-name").hidden = false;
    // The demo is to be looked at: it asks for nothing.
    if (state.roomName === state.config.demo_room && state.config.auth === "none") {
      state.name = recall("name", "") ?? "";
      await enter({ microphone: null, camera: null });
    } else {
      state.phase = "lobby";
      changed("phase");
      openLobby();
    }
  }
}

async function loadConfig() {
  try {
    const response = await fetch("/api/config", { headers: state.token ? { Authorization: `Bearer ${state.token}` } : {}, cache: "no-store" });
    if (!response.ok) throw Object.assign(new Error(response.statusText), { status: response.status });
    Object.assign(state.config, await response.json());
  } catch (error) {
    // Joining will say it again where it is still so; without the configuration the page asks for no token.
    notify("server", { level: "error", ...explain(typeof error.status === "number" ? error : { status: 0 }), action: { label: "Try again", run: () => location.reload() } });
  }
}

let lobbyShown = false;

function openLobby() {
  lobbyShown = true;
  showLobby(enter);
}

// Joining ----------------------------------------------------------------------------------------------------------

async function enter(tracks) {
  unnotify("join");
  byId("lobby").hidden = true;
  try {
    await joinCall(tracks);
  } catch (error) {
    state.phase = "lobby";
    changed("phase");
    const words = explain(error);
    const again = () => {
      unnotify("join");
      location.reload();
    };
    notify("join", { level: "error", ...words, action: { label: "Try again", run: again } });
    if (error?.status === 401) {
      // A token that was refused is not to be tried again.
      useToken("");
      byId("token-field").hidden = false;
    }
    if (lobbyShown) backToLobby();
    else openLobby();
    return;
  }
  announce(`You joined ${state.roomName}`);
  await useSpeaker();
}

function showPhase() {
  byId("lobby").hidden = state.phase !== "lobby";
  byId("call").hidden = state.phase !== "call";
  byId("over").hidden = state.phase !== "over";
  document.body.dataset.phase = state.phase;
  byId("joining").hidden = state.phase !== "joining";
  if (state.phase !== "over") return;
  const { reason, detail } = whyOver();
  const words = explainClosed(reason, detail);
  say(byId("over-title"), words.title);
  say(byId("over-detail"), words.detail);
  byId("rejoin").hidden = !words.again;
  byId("over-title").focus();
}

/** The number of unread messages stands in the tab, too. */
function showTitle() {
  document.title = `${state.unread > 0 ? `(${state.unread}) ` : ""}${state.roomName} – Sfumato`;
}

let awake = null;

/** A phone does not darken its screen during a call. The browser takes this back whenever the page is hidden. */
async function keepAwake() {
  if (state.phase !== "call") {
    await awake?.release().catch(() => {});
    awake = null;
  } else if (document.visibilityState === "visible" && (awake === null || awake.released)) {
    // Refused where the battery is low: the call goes on all the same.
    awake = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  }
}

/** What the link lacks, by the client library's word for it. */
const TROUBLE = {
  "media-blocked": ["No way for picture and sound", "The server answers, but no UDP packet gets through to its media port. A firewall or a VPN is the usual cause: try another network."],
  media: ["The connection is interrupted", "It is being mended; you need not do anything. If it takes long, check the network."],
  events: ["News of the room do not arrive", "Picture and sound go on. It is being mended; you need not do anything."],
  node: ["The connection is interrupted: the server does not answer", "It may be restarting. It is tried again and again; you need not do anything."],
};

function showLink() {
  if (state.phase !== "call") return;
  const words = TROUBLE[state.trouble] ?? (state.link === "reconnecting" ? TROUBLE.media : null);
  if (words) notify("link", { level: "warning", title: words[0], detail: words[1] });
  else unnotify("link");
}

// Sound that the browser holds back --------------------------------------------------------------------------------

/** Browsers play sound only after a click or a key in the page: then a button says so. */
function showBlocked() {
  const blocked = state.soundBlocked && state.phase === "call";
  if (byId("unmute-page").hidden === !blocked) return;
  byId("unmute-page").hidden = !blocked;
  if (blocked) announce("The browser holds the sound back. Press “Turn on the sound”.");
}

async function playSound() {
  await state.room?.startAudio();
  byId("unmute-page").hidden = true;
}
