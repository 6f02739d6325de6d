// Pieces of the page: tiles and notices. They show what they are told and know nothing of sessions.

import { bitrateText, lossText, pictureText, timeText } from "./stats.js";

const byId = (id) => document.getElementById(id);

/** Changes a text only when it differs, so that screen readers and selections are left in peace. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function icon(button, name) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
}

// Notices ----------------------------------------------------------------------------------------------------------

const notices = new Map();

/** Shows a notice, or changes the one of the same key. `level`: "info", "warning", "error". `action`: `{label, run}`. */
export function notify(key, { level = "info", title, detail = "", action = null }) {
  let notice = notices.get(key);
  if (!notice) {
    notice = document.createElement("div");
    notice.className = "notice";
    notice.dataset.key = key;
    const words = document.createElement("div");
    words.className = "words";
    words.append(Object.assign(document.createElement("p"), { className: "title" }), Object.assign(document.createElement("p"), { className: "detail" }));
    const close = Object.assign(document.createElement("button"), { type: "button", className: "quiet close", textContent: "Close" });
    close.addEventListener("click", () => unnotify(key));
    notice.append(words, close);
    notices.set(key, notice);
    byId("notices").append(notice);
  }
  notice.dataset.level = level;
  say(notice.querySelector(".title"), title);
  say(notice.querySelector(".detail"), detail);
  notice.querySelector(".action")?.remove();
  if (action) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "action", textContent: action.label });
    button.addEventListener("click", action.run);
    notice.querySelector(".close").before(button);
  }
}

/** Takes a notice away. */
export function unnotify(key) {
  notices.get(key)?.remove();
  notices.delete(key);
}

// Tiles ------------------------------------------------------------------------------------------------------------

function addFigure(list, term, text, bad = false) {
  const row = document.createElement("div");
  row.classList.toggle("bad", bad);
  row.append(Object.assign(document.createElement("dt"), { textContent: term }), Object.assign(document.createElement("dd"), { textContent: text }));
  list.append(row);
}

/** One participant's picture, name and figures. */
export class Tile {
  #sound;

  constructor({ participant, self = false }) {
    this.self = self;
    this.element = byId("tile-template").content.firstElementChild.cloneNode(true);
    this.video = this.element.querySelector("video");
    this.video.setAttribute("aria-label", self ? "Your own picture" : `Picture of ${participant}`);
    this.rename(participant);
    this.#sound = this.element.querySelector(".sound");
    const full = this.element.querySelector(".full");
    full.setAttribute("aria-label", `Full screen: ${participant}`);
    full.addEventListener("click", () => this.#fullScreen());
    full.hidden = !this.video.requestFullscreen && !this.video.webkitEnterFullscreen;
    if (self) {
      this.video.muted = true;
      this.#sound.hidden = true;
    } else {
      this.#sound.addEventListener("click", () => this.setMuted(!this.video.muted));
      this.#showSound();
    }
    this.veil(self ? "" : "Connecting…");
    const grid = byId("grid");
    if (self) grid.prepend(this.element);
    else grid.append(this.element);
    countTiles();
  }

  rename(participant) {
    this.participant = participant;
    this.element.dataset.participant = participant;
    this.element.setAttribute("aria-label", this.self ? `${participant || "guest"}, you` : participant);
    const who = this.element.querySelector(".who");
    who.textContent = participant || "guest";
    if (this.self) who.append(Object.assign(document.createElement("span"), { className: "self", textContent: " (you)" }));
  }

  remove() {
    this.video.srcObject = null;
    this.element.remove();
    countTiles();
  }

  /** A text over the picture; "" shows the picture. */
  veil(text) {
    if (this.element.dataset.veil === text) return;
    this.element.dataset.veil = text;
    // The words stay while the veil fades.
    if (text) say(this.element.querySelector(".veil-text"), text);
  }

  mirror(on) {
    this.element.classList.toggle("mirrored", on);
  }

  /** Plays a stream; without sound where the browser refuses sound before a click. Gives whether it had to be silent. */
  async play(stream) {
    if (this.video.srcObject !== stream) this.video.srcObject = stream;
    try {
      await this.video.play();
      return false;
    } catch (error) {
      if (error.name !== "NotAllowedError" || this.video.muted) return false;
      this.video.muted = true;
      this.#showSound(true);
      await this.video.play().catch(() => {});
      return true;
    }
  }

  setMuted(muted) {
    this.video.muted = muted;
    this.#showSound();
    if (!muted) this.video.play().catch(() => this.setMuted(true));
  }

  #showSound(attention = false) {
    const muted = this.video.muted;
    const button = this.#sound;
    icon(button, muted ? "sound-off" : "sound");
    button.setAttribute("aria-pressed", String(muted));
    button.setAttribute("aria-label", `Mute ${this.participant}`);
    button.toggleAttribute("data-attention", attention && muted);
    button.querySelector("span")?.remove();
    if (attention && muted) button.append(Object.assign(document.createElement("span"), { textContent: "Unmute" }));
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (this.video.requestFullscreen) this.video.requestFullscreen().catch(() => {});
    else this.video.webkitEnterFullscreen();
  }

  /** Figures of a participant who is watched. */
  showReceived(figures) {
    const list = this.element.querySelector(".figures");
    list.replaceChildren();
    const video = figures.receiving.find((entry) => entry.kind === "video");
    const audio = figures.receiving.find((entry) => entry.kind === "audio");
    if (!video && !audio) return;
    const codecs = [video?.codec, audio?.codec].filter(Boolean).join(" + ");
    if (video?.width) addFigure(list, "Picture", pictureText(video));
    if (codecs) addFigure(list, "Codec", codecs);
    const rates = [video?.bitrate, audio?.bitrate].filter((rate) => typeof rate === "number");
    addFigure(list, "Rate", bitrateText(rates.length ? rates.reduce((sum, rate) => sum + rate, 0) : null));
    const lost = worst([video?.lost, audio?.lost]);
    addFigure(list, "Lost", lossText(lost), lost !== null && lost > 0.03);
    addFigure(list, "Round trip", timeText(figures.rttMs), figures.rttMs > 400);
  }

  /** Figures of what one sends oneself, layer by layer. */
  showSent(figures) {
    const list = this.element.querySelector(".figures");
    list.replaceChildren();
    const video = figures.sending.filter((entry) => entry.kind === "video");
    const audio = figures.sending.find((entry) => entry.kind === "audio");
    const codecs = [video[0]?.codec, audio?.codec].filter(Boolean).join(" + ");
    if (codecs) addFigure(list, "Codec", codecs);
    const rates = figures.sending.map((entry) => entry.bitrate).filter((rate) => typeof rate === "number");
    addFigure(list, "Rate", bitrateText(rates.length ? rates.reduce((sum, rate) => sum + rate, 0) : null));
    const lost = worst(figures.sending.map((entry) => entry.lost));
    addFigure(list, "Lost", lossText(lost), lost !== null && lost > 0.03);
    addFigure(list, "Round trip", timeText(figures.rttMs ?? worst(figures.sending.map((entry) => entry.rttMs))));
    const limited = video.find((entry) => entry.limitedBy)?.limitedBy;
    if (limited) addFigure(list, "Held back by", limited === "cpu" ? "this computer" : limited);
    const table = this.element.querySelector(".layers");
    table.hidden = video.length === 0;
    const body = table.tBodies[0];
    body.replaceChildren();
    const order = ["q", "h", "f"];
    for (const layer of [...video].sort((a, b) => order.indexOf(a.rid) - order.indexOf(b.rid))) {
      const row = body.insertRow();
      row.classList.toggle("off", !layer.active);
      row.insertCell().textContent = layer.rid || "one";
      row.insertCell().textContent = layer.active ? pictureText(layer) : "off";
      row.insertCell().textContent = layer.active ? bitrateText(layer.bitrate) : "–";
      row.insertCell().textContent = lossText(layer.lost);
    }
  }
}

function worst(values) {
  const known = values.filter((value) => typeof value === "number");
  return known.length ? Math.max(...known) : null;
}

function countTiles() {
  const grid = byId("grid");
  grid.dataset.count = String(grid.childElementCount);
}

// The rest of the page ---------------------------------------------------------------------------------------------

/** The lamp at the top. `state`: "up", "down", "wait". */
export function showLink(state, text) {
  byId("link").dataset.state = state;
  say(byId("link-text"), text);
}

/** The line below the buttons. */
export function showSending(text) {
  say(byId("sending"), text);
}

export { byId, icon, say };
