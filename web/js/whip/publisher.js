// Sending one's own camera or screen: the devices, a tile, and a WHIP session that is kept alive until Stop.

import { reopenCamera } from "./devices.js";
import { Keeper } from "./keeper.js";
import { Meter } from "./stats.js";
import { Tile } from "./ui.js";
import { WhipSession } from "./whip.js";

/** Events: `change` (session, mute, camera), `over` when the browser's own "stop sharing" was used. */
export class Publisher extends EventTarget {
  #meter = new Meter();
  #measured = null;
  #cameraId;

  /** Who was there before us. */
  seenBefore = new Set();
  /** Somebody else sends under our name now. */
  displaced = false;

  /** `what`: "camera" or "screen". `options` as of {@link WhipSession}, and `cameraId`. */
  constructor({ api, room, participant, iceServers, stream, what, options }) {
    super();
    this.participant = participant;
    this.what = what;
    this.stream = stream;
    this.#cameraId = options.cameraId ?? "";
    this.sessionOptions = { ...options, video: stream.getVideoTracks().length > 0 };
    this.tile = new Tile({ participant, self: true });
    this.tile.mirror(what === "camera");
    this.tile.play(stream);
    if (!this.sessionOptions.video) this.tile.veil("Sound only");
    this.#watchTracks();
    this.keeper = new Keeper(
      () => new WhipSession(api, { room, participant, iceServers, stream: this.stream, options: this.sessionOptions }),
      (error) => this.#stillOurs(api, room, error),
    );
    this.keeper.addEventListener("change", () => this.#changed());
    this.keeper.start();
  }

  get pc() {
    return this.keeper.session?.pc ?? null;
  }

  get hasSound() {
    return this.stream.getAudioTracks().length > 0;
  }

  get muted() {
    return this.stream.getAudioTracks().every((track) => !track.enabled);
  }

  get cameraOff() {
    return this.sessionOptions.video && this.stream.getVideoTracks().length === 0;
  }

  /** The node replaces a publication by a newer one of the same name; two pages must not do that to each other for ever. */
  async #stillOurs(api, room, error) {
    if (error.code !== "ended") return true;
    const here = await api.participants(room).catch(() => []);
    this.displaced = here.some(({ id }) => id === this.participant);
    return !this.displaced;
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #watchTracks() {
    // "Stop sharing" in the browser's own bar, or a camera that was unplugged.
    for (const track of this.stream.getVideoTracks()) {
      track.addEventListener("ended", () => {
        if (this.stream.getVideoTracks().includes(track)) this.dispatchEvent(new Event("over"));
      });
    }
  }

  /** The name that the node made up. */
  rename(participant) {
    this.participant = participant;
    this.tile.rename(participant);
  }

  setMuted(muted) {
    for (const track of this.stream.getAudioTracks()) track.enabled = !muted;
    this.#changed();
  }

  /** Really off: the device is released and its lamp goes out. Throws what getUserMedia throws when it cannot be had again. */
  async setCameraOff(off) {
    if (off === this.cameraOff) return;
    if (off) {
      for (const track of this.stream.getVideoTracks()) {
        this.stream.removeTrack(track);
        track.stop();
      }
      await this.keeper.session?.replaceVideo(null);
      this.tile.veil("Your camera is off");
    } else {
      const track = await reopenCamera(this.#cameraId);
      this.stream.addTrack(track);
      this.#watchTracks();
      await this.keeper.session?.replaceVideo(track);
      this.tile.veil("");
      this.tile.play(this.stream);
    }
    this.#changed();
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
    if (figures && session === this.keeper.session) this.tile.showSent(figures);
  }

  stop({ leaving = false } = {}) {
    this.keeper.stop({ leaving });
    for (const track of this.stream.getTracks()) track.stop();
    this.tile.remove();
  }
}
