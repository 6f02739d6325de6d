// The panel of live figures: three graphs that say what they mean, and a table of each person. Measured while the panel is
// open, and every fifth second otherwise, so that the graphs have a past when it is opened.

import { byId, el, say } from "./dom.js";
import { me, nameOf, others } from "./call.js";
import { GRAPHS, History, scaleEnd, SPAN_MS, written } from "./figures.js";
import { on, state } from "./state.js";

const HEIGHT = 96;
let history = new History();
let measured = 0;
let busy = false;
let drawn = null;

export function startConnection() {
  on("phase", () => {
    if (state.phase !== "call") history = new History();
  });
  on("panel", () => state.panel === "stats" && void tick());
  setInterval(tick, 1_000);
}

async function tick() {
  if (state.phase !== "call" || busy || !state.room?.stats) return;
  const open = state.panel === "stats";
  const now = performance.now();
  // Timers that were held up come in a row; figures of so short a time say nothing.
  if (now - measured < (open ? 500 : 4_500)) return;
  measured = now;
  busy = true;
  try {
    const stats = await state.room.stats();
    if (!stats) return;
    history.add(stats);
    if (open) show(stats);
  } catch {
    // While the session is made anew there is nothing to measure.
  } finally {
    busy = false;
  }
}

function show(stats) {
  drawn ??= GRAPHS.map(build);
  for (const graph of drawn) draw(graph);
  byId("person-stats").replaceChildren(...people(stats));
}

// Graphs -----------------------------------------------------------------------------------------------------------

function build(graph) {
  const canvas = el("canvas", { class: "graph", role: "img" });
  const legend = el("p", { class: "legend" });
  const keys = graph.lines.map(([, text]) => {
    const value = el("b", {});
    const dash = el("i", { "aria-hidden": "true" });
    legend.append(el("span", { class: "key" }, dash, `${text} `, value));
    return { dash, value };
  });
  byId("graphs").append(el("section", { class: "graph-box" }, el("h3", { textContent: graph.title }), legend, canvas, el("p", { class: "hint", textContent: graph.about })));
  return { ...graph, canvas, keys };
}

function draw({ title, unit, lines, canvas, keys }) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  const width = canvas.clientWidth || 300;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(HEIGHT * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  // The colours are those of the page's style at the moment: a canvas does not know its variables.
  const style = getComputedStyle(canvas);
  const all = lines.map(([name]) => history.series[name]);
  const end = scaleEnd(all.flat(), unit);
  const now = history.times.at(-1);
  context.strokeStyle = style.borderTopColor;
  context.lineWidth = 1;
  for (const y of [0.5, HEIGHT / 2, HEIGHT - 0.5]) {
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(width, y);
    context.stroke();
  }
  lines.forEach((_, at) => {
    const series = all[at];
    context.strokeStyle = getComputedStyle(keys[at].dash).borderTopColor;
    context.lineWidth = 2;
    // The second line is dashed: it is told from the first one without colours, too.
    context.setLineDash(at === 0 ? [] : [6, 3]);
    context.beginPath();
    let pen = false;
    series.forEach((value, index) => {
      if (value === null) {
        pen = false;
        return;
      }
      const x = width * (1 - (now - history.times[index]) / SPAN_MS);
      const y = HEIGHT - 2 - (Math.min(value, end) / end) * (HEIGHT - 4);
      if (pen) context.lineTo(x, y);
      else context.moveTo(x, y);
      pen = true;
    });
    context.stroke();
    say(keys[at].value, written(series.at(-1), unit));
  });
  context.setLineDash([]);
  context.fillStyle = style.color;
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "top";
  context.fillText(written(end, unit), 4, 4);
  canvas.setAttribute("aria-label", `${title}, the last two minutes: ${lines.map(([name, text]) => `${text} ${written(history.series[name].at(-1), unit)}`).join(", ")}`);
}

// Each person ------------------------------------------------------------------------------------------------------

const ABOUT = {
  Picture: "size and frames a second",
  Layer: "which of the sender's sizes",
  "Bit rate": "picture and sound together",
  Loss: "packets that did not arrive",
  Jitter: "how unevenly packets come",
  Buffer: "delay added to even that out",
  Freezes: "times the picture stood still",
};

function people(stats) {
  const rows = [];
  const self = me();
  const order = Object.keys(LAYERS);
  const own = stats.publications.flatMap(({ source, codec, layers }) =>
    [...layers].sort((a, b) => order.indexOf(a.rid) - order.indexOf(b.rid)).map((layer) => ({ source, codec, ...layer })));
  if (self && own.length) rows.push(person(`${nameOf(self)} (you send)`, own.map(sent)));
  for (const member of others()) {
    const slots = stats.slots.filter((slot) => slot.member === member.identity);
    if (slots.length) rows.push(person(nameOf(member), [received(member, slots)]));
  }
  if (rows.length === 0) rows.push(el("p", { class: "hint", textContent: "Nothing is sent or received at the moment." }));
  return rows;
}

function person(name, lists) {
  return el("section", { class: "person-box" }, el("h4", { textContent: name }), ...lists.map((pairs) => el("dl", {}, ...pairs.map(([term, text]) => el("div", {}, el("dt", { textContent: term, title: ABOUT[term] ?? "" }), el("dd", { textContent: text }))))));
}

const pictureText = ({ width, height, fps }) => (width ? `${width}×${height}${fps === null ? "" : `, ${Math.round(fps)} fps`}` : "–");

function sent({ source, codec, rid, active, bitrate, loss, limitedBy, ...picture }) {
  const pairs = [["Source", [source.replace("-", " "), codec].filter(Boolean).join(", ")]];
  if (rid) pairs.push(["Layer", LAYERS[rid] ?? rid]);
  if (picture.width) pairs.push(["Picture", active ? pictureText(picture) : "off"]);
  pairs.push(["Bit rate", written(bitrate, "bits")], ["Loss", written(loss, "percent")]);
  if (limitedBy) pairs.push(["Held back by", limitedBy === "cpu" ? "this computer" : "the line"]);
  return pairs;
}

const LAYERS = { q: "small (q)", h: "medium (h)", f: "large (f)" };

/** Which layer arrives, told by its size: each one has half the width of the next. */
function layerOf(member, slot) {
  const layers = member.tracks.get(slot.track)?.layers ?? [];
  if (layers.length < 2 || !slot.width) return "only one";
  const largest = Math.max(slot.width, widest.get(slot.track) ?? 0);
  widest.set(slot.track, largest);
  const down = Math.round(Math.log2(largest / slot.width));
  const name = [...layers].reverse()[Math.min(layers.length - 1, down)];
  return `${LAYERS[name] ?? name}, of ${layers.length}`;
}

/** The widest picture seen of a track; bounded by the tracks that a page meets, and emptied when it gets long. */
const widest = new Map();

function received(member, slots) {
  const video = slots.find(({ kind, width }) => kind === "video" && width) ?? null;
  const audio = slots.find(({ kind }) => kind === "audio") ?? null;
  if (widest.size > 500) widest.clear();
  const rates = slots.map(({ bitrate }) => bitrate).filter((rate) => rate !== null);
  const either = (name) => video?.[name] ?? audio?.[name] ?? null;
  const pairs = [];
  if (video) pairs.push(["Picture", [pictureText(video), video.codec].filter(Boolean).join(", ")], ["Layer", layerOf(member, video)]);
  pairs.push(
    ["Bit rate", written(rates.length ? rates.reduce((sum, rate) => sum + rate, 0) : null, "bits")],
    ["Loss", written(either("loss"), "percent")],
    ["Jitter", written(either("jitterMs"), "ms")],
    ["Buffer", written(either("delayMs"), "ms")],
  );
  if (video) pairs.push(["Freezes", String(video.freezes ?? 0)]);
  return pairs;
}
