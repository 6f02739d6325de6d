// Who is shown where: a grid of equal tiles, or one large picture with a strip. Tiles live as long as what they show, and
// move between the places; a moved video goes on playing.

import { me, nameOf, others, pinForServer, sends, slotOf } from "./call.js";
import { byId, say } from "./dom.js";
import { bestGrid, fitting } from "./layout.js";
import { isOn, trackOf } from "./local.js";
import { openPanel } from "./panels.js";
import { changed, on, state } from "./state.js";
import { moreTile, Tile } from "./tile.js";

/** Tiles below this width show nothing that one would recognise. */
const TILE_MIN = 132;
const GAP = 10;
const STRIP = { desktop: { height: 118, ratio: 4 / 3 }, phone: { height: 78, ratio: 1 } };

const tiles = new Map();
/** One stream for each track of a device, so that a video is not restarted without need. */
const streams = new WeakMap();
let more = null;

export function startStage() {
  more = moreTile(() => openPanel("people"));
  on("phase members slots speakers quality local view encryption panel", render);
  new ResizeObserver(() => state.phase === "call" && arrange()).observe(byId("stage"));
}

/** Grid or speaker view, by the user. */
export function switchView() {
  setView(state.view === "grid" ? "speaker" : "grid");
  viewBeforeScreen = null;
}

/** Keeps a member's picture large, or lets it go. */
export function pin(identity) {
  state.pinned = state.pinned === identity ? null : identity;
  if (state.pinned) setView("speaker");
  pinForServer();
  changed("view");
  changed("members");
}

function setView(view) {
  state.view = view;
  changed("view");
}

let viewBeforeScreen = null;
let screensBefore = 0;

/** A screen that appears is shown large; when the last one goes, the view is as before. */
function followScreens(count) {
  if (count > 0 && screensBefore === 0 && state.view === "grid") {
    viewBeforeScreen = "grid";
    setView("speaker");
  } else if (count === 0 && screensBefore > 0 && viewBeforeScreen) {
    setView(viewBeforeScreen);
    viewBeforeScreen = null;
  }
  screensBefore = count;
}

// What there is to show --------------------------------------------------------------------------------------------

function streamOf(track) {
  if (!track) return null;
  if (!streams.has(track)) streams.set(track, new MediaStream([track]));
  return streams.get(track);
}

/** The picture of a remote track: `{stream, words}`. */
function remote(track) {
  if (!track || track.muted) return { stream: null, words: "" };
  const slot = slotOf(track);
  if (slot?.state === "no-codec") return { stream: null, words: `This browser cannot show ${track.codecs?.[0] ?? "this codec"}` };
  return { stream: slot?.state === "flowing" ? slot.stream : null, words: "" };
}

const PRESENCE = { lost: "Reconnecting…", connecting: "Connecting…" };

/** Everything that could have a tile, others first, in the order of arrival. */
function entries() {
  const out = [];
  for (const member of others()) {
    const cameras = [...member.tracks.values()].filter((track) => track.kind === "video" && track.source !== "screen");
    const screens = [...member.tracks.values()].filter((track) => track.source === "screen" && !track.muted);
    const common = { member, name: nameOf(member), quality: member.quality, pinned: state.pinned === member.identity };
    const { stream, words } = remote(cameras.find((track) => !track.muted) ?? cameras[0]);
    out.push({
      ...common,
      key: member.identity,
      stream,
      speaking: member.speaking,
      muted: !sends(member, "microphone"),
      // A stream from a program is no face: its edges may hold what one wants to read.
      whole: member.kind !== "session",
      words: PRESENCE[member.presence] ?? (state.otherKeys.has(member.identity) ? "Has another passphrase" : words),
    });
    for (const track of screens) out.push({ ...common, key: `${member.identity}/screen`, screen: true, quality: null, ...remote(track) });
  }
  const self = me();
  if (self) {
    const camera = isOn("camera") ? streamOf(trackOf("camera")) : null;
    out.push({
      member: self,
      key: self.identity,
      name: nameOf(self),
      self: true,
      stream: camera,
      mirrored: true,
      muted: !isOn("microphone"),
      speaking: self.speaking && isOn("microphone"),
      quality: self.quality,
      pinned: state.pinned === self.identity,
      words: state.link === "reconnecting" ? "Reconnecting…" : "",
    });
  }
  return out;
}

/** Which entry is the large one. */
function largest(all) {
  const find = (test) => all.find(test);
  return (
    find((one) => one.pinned && one.screen) ??
    find((one) => one.pinned) ??
    find((one) => one.screen) ??
    find((one) => one.key === state.lastSpeaker) ??
    find((one) => !one.self && one.stream) ??
    find((one) => !one.self) ??
    all[0]
  );
}

// Showing it -------------------------------------------------------------------------------------------------------

let shown = { all: [], large: null };

export function render() {
  if (state.phase !== "call") return;
  const all = entries();
  followScreens(all.filter((one) => one.screen).length);
  const here = new Set(all.map((one) => one.key));
  for (const [key, tile] of tiles) {
    if (here.has(key)) continue;
    tile.remove();
    tiles.delete(key);
  }
  for (const one of all) {
    if (!tiles.has(one.key)) tiles.set(one.key, new Tile(one.key, { onPin: () => pin(one.member.identity) }));
    tiles.get(one.key).show(one);
  }
  shown = { all, large: state.view === "speaker" ? largest(all) : null };
  byId("alone").hidden = others().length > 0;
  say(byId("call-title"), `The call in “${state.roomName}”: ${all.filter((one) => !one.screen).length} here`);
  arrange();
}

/** The entries with a picture and those who speak come first where not all fit; what is shown keeps its order. */
function chosen(all, most) {
  if (all.length <= most) return { kept: all, left: 0 };
  const worth = (one) => (one.pinned ? 16 : 0) + (one.screen ? 8 : 0) + (one.self ? 4 : 0) + (one.stream ? 2 : 0) + (one.speaking ? 1 : 0);
  const best = new Set([...all].sort((a, b) => worth(b) - worth(a)).slice(0, most - 1));
  return { kept: all.filter((one) => best.has(one)), left: all.length - best.size };
}

/** Puts elements into a place in order, moving only those that are not there: a moved video flickers. */
function fill(place, elements) {
  for (const child of [...place.children]) if (!elements.includes(child)) child.remove();
  elements.forEach((element, at) => {
    if (place.children[at] !== element) place.insertBefore(element, place.children[at] ?? null);
  });
  for (const video of place.querySelectorAll("video")) if (video.paused && video.srcObject) video.play().catch(() => {});
}

function arrange() {
  const stage = byId("stage");
  const { all, large } = shown;
  const speaker = large !== null && all.length > 1;
  const alone = !byId("alone").hidden;
  stage.dataset.view = speaker ? "speaker" : "grid";
  stage.classList.toggle("with-alone", alone);
  const style = getComputedStyle(stage);
  const width = stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const height = stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  if (width <= 0 || height <= 0) return;
  const slots = (state.room?.slots ?? []).filter((slot) => slot.kind === "video").length;
  const most = Math.max(slots, 9) + 1;
  const rest = speaker ? all.filter((one) => one !== large) : all;
  if (speaker) strip(rest, width, height);
  else grid(rest, width, alone ? height - byId("alone").offsetHeight - GAP : height, most);
  fill(byId("big"), speaker ? [tiles.get(large.key).element] : []);
}

function grid(all, width, height, most) {
  // A tall screen is filled better by square tiles in two columns than by wide ones in one.
  const options = { gap: GAP, narrow: height > width ? 0.9 : 1.2 };
  const count = Math.min(all.length, most);
  const { kept, left } = chosen(all, Math.min(all.length, Math.max(2, fitting(count, width, height, TILE_MIN, options))));
  const { columns, tileWidth, tileHeight } = bestGrid(kept.length + (left ? 1 : 0), width, height, options);
  place(kept, left, { columns, tileWidth, tileHeight });
}

function strip(all, width, height) {
  const shape = width < 700 ? STRIP.phone : STRIP.desktop;
  const tileHeight = Math.min(shape.height, Math.floor(height / 3));
  const tileWidth = Math.round(tileHeight * shape.ratio);
  const most = Math.max(2, Math.floor((width + GAP) / (tileWidth + GAP)));
  const { kept, left } = chosen(all, most);
  place(kept, left, { columns: kept.length + (left ? 1 : 0), tileWidth, tileHeight });
}

function place(kept, left, { columns, tileWidth, tileHeight }) {
  const box = byId("tiles");
  box.style.setProperty("--columns", String(columns));
  box.style.setProperty("--tile-width", `${tileWidth}px`);
  box.style.setProperty("--tile-height", `${tileHeight}px`);
  const elements = kept.map((one) => tiles.get(one.key).element);
  if (left) {
    more.show(left);
    elements.push(more.element);
  }
  fill(box, elements);
}

/** What a recording shows: the videos and names that are on the stage now, the large one first. */
export function onStage() {
  const visible = (one) => tiles.get(one.key)?.element.isConnected;
  return shown.all.filter(visible).map((one) => ({
    video: one.stream ? tiles.get(one.key).video : null,
    name: one.name,
    screen: Boolean(one.screen),
    whole: Boolean(one.whole),
    speaking: one.speaking,
    large: one === shown.large,
  }));
}
