// Watching one participant: a tile, and a WHEP session that is kept alive for as long as the participant is listed.

import { Keeper } from "./keeper.js";
import { explain } from "./messages.js";
import { Meter } from "./stats.js";
import { Tile } from "./ui.js";
import { WhepSession } from "./whep.js";

/** Without a new frame for this long the picture counts as paused. */
const STILL_MS = 4_000;
/** The node puts a new publication of the same name into the session that is there; if no frame came by then, ask anew. */
const REBIND_MS = 8_000;

export class Viewer {
  #meter = new Meter();
  #measured = null;
  #frames = -1;
  #framesAt = performance.now();
  #onSilenced;

  /** `onSilenced` is called when the browser plays only without sound. */
  constructor({ api, room, participant, iceServers, onSilenced }) {
    this.participant = participant;
    this.tile = new Tile({ participant });
    this.#onSilenced = onSilenced;
    this.trackIds = "";
    this.reboundAt = 0;
    this.hasVideo = true;
    this.keeper = new Keeper(() => this.#session(api, room, iceServers));
    this.keeper.addEventListener("change", () => this.#show());
    this.keeper.start();
  }

  get pc() {
    return this.keeper.session?.pc ?? null;
  }

  #session(api, room, iceServers) {
    const session = new WhepSession(api, { room, participant: this.participant, iceServers });
    session.addEventListener("track", async () => {
      if (await this.tile.play(session.stream)) this.#onSilenced();
    });
    this.#frames = -1;
    this.#framesAt = performance.now();
    return session;
  }

  /** What the room's list says of this participant. New tracks under the same name are another publication. */
  update({ tracks = [] }) {
    const ids = tracks.map((track) => track.id).sort().join(",");
    this.hasVideo = tracks.some((track) => track.kind === "video");
    if (this.trackIds && ids && ids !== this.trackIds) this.reboundAt = performance.now();
    if (ids) this.trackIds = ids;
    const silent = this.#framesAt < this.reboundAt && performance.now() - this.reboundAt > REBIND_MS;
    if (silent && tracks.some((track) => track.kind === "video" && track.active)) {
      this.reboundAt = 0;
      this.keeper.renew();
    }
    this.#show();
  }

  /** Reads the figures; called each second. */
  async measure() {
    const { session } = this.keeper;
    if (!session?.pc || session.state === "closed" || session.state === "offering") return;
    if (this.#measured !== session) {
      this.#measured = session;
      this.#meter = new Meter();
    }
    const figures = await this.#meter.read(session.pc).catch(() => null);
    if (!figures || session !== this.keeper.session) return;
    const frames = figures.receiving.find((entry) => entry.kind === "video")?.framesDecoded ?? 0;
    if (frames !== this.#frames) {
      this.#frames = frames;
      this.#framesAt = performance.now();
    }
    this.tile.showReceived(figures);
    this.#show();
  }

  #show() {
    const { session, error, retryAt, stuck } = this.keeper;
    this.tile.veil(this.#words(session?.state, error, retryAt, stuck));
  }

  #words(state, error, retryAt, stuck) {
    if (error && (stuck || state === "closed" || state === "offering" || state === "connecting")) {
      const { title, detail } = explain(error);
      if (stuck) return `${title}. ${detail}`;
      const seconds = Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
      return seconds > 0 ? `${title}. Next try in ${seconds} s.` : `${title}. Trying again…`;
    }
    if (state === "recovering") return "The connection was interrupted. Mending it…";
    if (state !== "connected") return "Connecting…";
    if (!this.hasVideo) return "Sound only";
    if (this.#frames <= 0) return "Waiting for the picture…";
    if (performance.now() - this.#framesAt > STILL_MS) return "The camera is off";
    return "";
  }

  stop({ leaving = false } = {}) {
    this.keeper.stop({ leaving });
    this.tile.remove();
  }
}
