// One tile: a member's picture or screen, with the name, the marks and the words that belong to it. It shows what it is
// told; which tiles there are and where they stand is stage.js.

import { byId, el, hueOf, icon, initials, say } from "./dom.js";

const QUALITY = { fair: "fair", poor: "poor" };

export class Tile {
  /** `key`: the identity, with a mark for screens. `onPin`, `onFull`: what its buttons do. */
  constructor(key, { onPin }) {
    this.key = key;
    this.video = el("video", { autoplay: true, playsInline: true, muted: true, hidden: true });
    this.video.addEventListener("resize", () => this.#fit());
    this.face = el("div", { class: "face" }, el("span", { class: "initials", "aria-hidden": "true" }));
    this.words = el("p", { class: "words", hidden: true });
    this.name = el("span", { class: "name" });
    this.mutedMark = el("span", { class: "tile-mark muted-mark", hidden: true }, icon("mic-off"), el("span", { class: "visually-hidden", textContent: "muted" }));
    this.qualityWord = el("span", {});
    this.quality = el("span", { class: "quality", hidden: true }, icon("signal"), this.qualityWord, el("span", { class: "visually-hidden", textContent: "connection" }));
    this.speaking = el("span", { class: "visually-hidden", textContent: "speaking", hidden: true });
    this.pin = el("button", { type: "button", class: "icon pin", "aria-pressed": "false", onclick: onPin }, icon("pin"));
    this.full = el("button", { type: "button", class: "icon", onclick: () => this.fullScreen() }, icon("full"));
    this.full.hidden = !document.fullscreenEnabled;
    this.element = el(
      "article",
      { class: "tile", "data-key": key },
      this.face,
      this.video,
      this.words,
      el("div", { class: "tile-buttons" }, this.pin, this.full),
      el("div", { class: "label" }, this.mutedMark, this.name, this.speaking, this.quality),
    );
  }

  /** `stream`: what plays, or null for the face. `words`: said over the picture, or "". */
  show({ name, self = false, screen = false, stream, mirrored = false, muted = false, quality = null, speaking = false, words = "", pinned = false, whole = false }) {
    const title = screen ? `${name}: screen` : self ? `${name} (you)` : name;
    say(this.name, title);
    say(this.face.firstElementChild, initials(name));
    this.face.dataset.hue = String(hueOf(name));
    this.element.setAttribute("aria-label", title);
    this.element.classList.toggle("screen", screen);
    this.element.classList.toggle("whole", whole);
    this.element.classList.toggle("speaking", speaking);
    this.element.classList.toggle("mirrored", mirrored);
    this.speaking.hidden = !speaking;
    this.mutedMark.hidden = !muted;
    this.quality.hidden = !QUALITY[quality] || words !== "";
    if (QUALITY[quality]) {
      say(this.qualityWord, QUALITY[quality]);
      this.quality.title = `${QUALITY[quality]} connection`;
      this.quality.dataset.quality = quality;
    }
    this.words.hidden = words === "";
    if (words) say(this.words, words);
    this.element.classList.toggle("veiled", words !== "");
    this.pin.setAttribute("aria-pressed", String(pinned));
    this.pin.setAttribute("aria-label", `Keep ${title} large`);
    this.pin.title = pinned ? "Unpin" : "Keep large";
    this.full.setAttribute("aria-label", `Full screen: ${title}`);
    this.full.title = "Full screen";
    this.video.setAttribute("aria-label", `Picture of ${title}`);
    this.#play(stream);
  }

  #play(stream) {
    this.video.hidden = stream === null;
    this.face.hidden = stream !== null;
    if (this.video.srcObject === stream) return;
    this.video.srcObject = stream;
    // Tiles are silent (the sound comes from the room), so browsers let them play; a picture that was replaced meanwhile rejects.
    if (stream) this.video.play().catch(() => {});
  }

  /** Pictures that stand upright are shown whole, others fill the tile. */
  #fit() {
    this.element.classList.toggle("upright", this.video.videoHeight > this.video.videoWidth);
  }

  fullScreen() {
    if (document.fullscreenElement) void document.exitFullscreen();
    else this.element.requestFullscreen?.().catch(() => {});
  }

  remove() {
    this.video.srcObject = null;
    this.element.remove();
  }
}

/** The tile that stands for those who have none. */
export function moreTile(onOpen) {
  const button = el("button", { type: "button", class: "tile more-tile", onclick: onOpen }, el("span", {}));
  return {
    element: button,
    show: (count) => say(button.firstElementChild, `${count} more`),
  };
}

export const stageSize = () => {
  const { width, height } = byId("stage").getBoundingClientRect();
  return { width, height };
};
