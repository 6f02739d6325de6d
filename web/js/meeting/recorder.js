// Records what is on the stage, with everyone's sound and one's own, into a file on this computer. The others are told.

import { nameOf, others } from "./call.js";
import { byId, say } from "./dom.js";
import { bestGrid } from "./layout.js";
import { isOn, trackOf } from "./local.js";
import { announce, notify } from "./notices.js";
import { onStage } from "./stage.js";
import { changed, on, state } from "./state.js";

const WIDTH = 1280;
const HEIGHT = 720;
const FPS = 20;
const GAP = 8;
const TOPIC = "recording";
/** A recording is kept in the browser's memory until it is saved; at this size it is saved and ended. */
const BYTES_MAX = 2_000_000_000;
/** VP8 first: it is encoded beside the call, and VP9 takes about twice the computing time. */
const TYPES = ["video/webm;codecs=vp8,opus", "video/webm;codecs=vp9,opus", "video/mp4;codecs=avc1.42E01E,mp4a.40.2", "video/webm", "video/mp4"];

let running = null;

export function startRecorder() {
  let wired = null;
  on("phase", () => {
    if (state.phase !== "call") void stopRecording();
    if (!state.room || state.room === wired) return;
    wired = state.room;
    state.room.on("data", told);
  });
  on("slots local", () => running?.mix());
  // Who joins later is told as well.
  on("members", () => running && tellNew());
}

export const toggleRecording = () => (running ? stopRecording() : record());

function record() {
  if (state.phase !== "call") return;
  const type = typeof MediaRecorder === "function" && TYPES.find((one) => MediaRecorder.isTypeSupported(one));
  if (!type || !HTMLCanvasElement.prototype.captureStream) {
    notify("record", { level: "error", title: "This browser cannot record", detail: "It has no MediaRecorder. A current Chromium, Firefox or Safari can." });
    return;
  }
  running = new Recording(type, save);
  state.recording = true;
  state.recordedBytes = 0;
  showSize(0);
  byId("recording-mark").hidden = false;
  tellNew();
  announce("Recording on this computer. The others are told.");
  changed("recording");
}

export async function stopRecording() {
  const recording = running;
  if (!recording) return;
  running = null;
  state.recording = false;
  byId("recording-mark").hidden = true;
  for (const identity of recording.told) tell("off", identity);
  changed("recording");
  await recording.stop();
}

function showSize(bytes) {
  say(byId("recording-size"), `${(bytes / 1_000_000).toFixed(1)} MB`);
}

// What others are told ---------------------------------------------------------------------------------------------

function tell(text, identity) {
  // Members who left, and tokens without the right to send data: nothing more can be done.
  if (state.room?.permissions?.data) Promise.resolve(state.room.send(TOPIC, text, { to: [identity] })).catch(() => {});
}

function tellNew() {
  for (const { identity, kind } of others()) {
    if (kind !== "session" || running.told.has(identity)) continue;
    running.told.add(identity);
    tell("on", identity);
  }
}

function told({ from: member, identity, topic, text }) {
  if (topic !== TOPIC || !member || state.recorders.has(identity) === (text === "on")) return;
  if (text === "on") {
    state.recorders.add(identity);
    notify(`records-${identity}`, { level: "info", title: `${nameOf(member)} records`, detail: "They keep a copy of what they see and hear on their computer.", seconds: 20 });
  } else state.recorders.delete(identity);
  changed("members");
}

// The file ---------------------------------------------------------------------------------------------------------

function save(blob) {
  const extension = blob.type.startsWith("video/mp4") ? "mp4" : "webm";
  const stamp = new Date().toISOString().slice(0, 16).replace(/[T:]/g, "-");
  const url = URL.createObjectURL(blob);
  const link = Object.assign(document.createElement("a"), { href: url, download: `${state.roomName}-${stamp}.${extension}` });
  link.click();
  // The download has begun by then; without this the recording would stay in memory.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  const size = (blob.size / 1_000_000).toFixed(blob.size < 10_000_000 ? 1 : 0);
  notify("record", { title: "Recording saved", detail: `${link.download}, ${size} MB, in the folder of downloads.`, seconds: 15 });
  document.dispatchEvent(new CustomEvent("recorded", { detail: blob }));
}

class Recording {
  /** Identities of members who know of it. */
  told = new Set();
  #chunks = [];
  #bytes = 0;
  #sources = new Map();

  constructor(type, done) {
    this.canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.audio = new (window.AudioContext ?? window.webkitAudioContext)();
    void this.audio.resume();
    this.mixed = this.audio.createMediaStreamDestination();
    // Without a source some browsers send no sound at all, and the file has a silent track of no length.
    const hush = this.audio.createConstantSource();
    const gain = this.audio.createGain();
    gain.gain.value = 0;
    hush.connect(gain).connect(this.mixed);
    hush.start();
    this.mix();
    this.draw();
    this.timer = setInterval(() => this.draw(), 1000 / FPS);
    const stream = new MediaStream([...this.canvas.captureStream(FPS).getVideoTracks(), ...this.mixed.stream.getAudioTracks()]);
    this.recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: 2_500_000 });
    this.recorder.addEventListener("dataavailable", ({ data }) => this.#take(data));
    this.finished = new Promise((resolve) => this.recorder.addEventListener("stop", resolve, { once: true }));
    this.done = done;
    // In pieces: what was recorded is not lost in the recorder when something goes wrong.
    this.recorder.start(1_000);
  }

  #take(data) {
    this.#chunks.push(data);
    this.#bytes += data.size;
    state.recordedBytes = this.#bytes;
    showSize(this.#bytes);
    if (this.#bytes < BYTES_MAX || running !== this) return;
    notify("record-full", { level: "warning", title: "The recording was ended", detail: "It reached 2 GB, which is as much as the page keeps. Start another one to go on." });
    void stopRecording();
  }

  /** Joins the sound of all audio slots and of what is sent. */
  mix() {
    const wanted = new Set();
    for (const slot of state.room?.slots ?? []) if (slot.kind === "audio" && slot.mediaStreamTrack) wanted.add(slot.mediaStreamTrack);
    for (const source of ["microphone", "screen-audio"]) if (isOn(source) && trackOf(source)) wanted.add(trackOf(source));
    for (const [track, node] of this.#sources) {
      if (wanted.has(track)) continue;
      node.disconnect();
      this.#sources.delete(track);
    }
    for (const track of wanted) {
      if (this.#sources.has(track)) continue;
      const node = this.audio.createMediaStreamSource(new MediaStream([track]));
      node.connect(this.mixed);
      this.#sources.set(track, node);
    }
  }

  draw() {
    const { context } = this;
    context.fillStyle = "#14121a";
    context.fillRect(0, 0, WIDTH, HEIGHT);
    const all = onStage();
    const large = all.find((one) => one.large);
    const rest = all.filter((one) => one !== large);
    if (large && rest.length > 0) {
      const strip = 150;
      drawTile(context, large, { x: 0, y: 0, width: WIDTH, height: HEIGHT - strip - GAP });
      const width = Math.min(Math.floor((strip * 4) / 3), Math.floor((WIDTH - GAP * (rest.length - 1)) / rest.length));
      const left = (WIDTH - rest.length * (width + GAP) + GAP) / 2;
      rest.forEach((one, at) => drawTile(context, one, { x: left + at * (width + GAP), y: HEIGHT - strip, width, height: strip }));
      return;
    }
    const { columns, rows, tileWidth, tileHeight } = bestGrid(all.length, WIDTH, HEIGHT, { gap: GAP });
    all.forEach((one, at) => {
      const row = Math.floor(at / columns);
      const inRow = row === rows - 1 ? all.length - columns * row : columns;
      const left = (WIDTH - inRow * (tileWidth + GAP) + GAP) / 2;
      const top = (HEIGHT - rows * (tileHeight + GAP) + GAP) / 2;
      drawTile(context, one, { x: left + (at % columns) * (tileWidth + GAP), y: top + row * (tileHeight + GAP), width: tileWidth, height: tileHeight });
    });
  }

  async stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
    await this.finished;
    clearInterval(this.timer);
    for (const track of this.recorder.stream.getTracks()) track.stop();
    await this.audio.close().catch(() => {});
    this.done(new Blob(this.#chunks, { type: this.recorder.mimeType }));
  }
}

function drawTile(context, { video, name, screen, speaking, whole: all }, { x, y, width, height }) {
  context.fillStyle = "#241f2b";
  context.fillRect(x, y, width, height);
  if (video?.videoWidth) {
    const whole = screen || all || video.videoHeight > video.videoWidth;
    const fit = whole ? Math.min : Math.max;
    const scale = fit(width / video.videoWidth, height / video.videoHeight);
    const w = Math.min(video.videoWidth, width / scale);
    const h = Math.min(video.videoHeight, height / scale);
    context.drawImage(video, (video.videoWidth - w) / 2, (video.videoHeight - h) / 2, w, h, x + (width - w * scale) / 2, y + (height - h * scale) / 2, w * scale, h * scale);
  }
  const label = screen ? `${name}: screen` : name;
  context.font = "16px system-ui, sans-serif";
  context.textBaseline = "middle";
  const wide = Math.min(width, context.measureText(label).width + 20);
  context.fillStyle = "rgb(12 10 16 / 72%)";
  context.fillRect(x, y + height - 28, wide, 28);
  context.fillStyle = "#f6e8d4";
  context.fillText(label, x + 10, y + height - 14, width - 20);
  if (speaking) {
    context.strokeStyle = "#e0b478";
    context.lineWidth = 3;
    context.strokeRect(x + 1.5, y + 1.5, width - 3, height - 3);
  }
}
