// All that the page publishes, and how it meets the records that the node keeps of it.

import { RoomError } from "./http.js";
import { Publication } from "./publications.js";

/** @import {PublishOptions} from "./publications.js" */
/** @import {Session} from "./session.js" */
/** @import {Member} from "./state.js" */
/** @import {Permissions} from "./types.js" */

/** How long the node's record may take to show a track after the answer. */
const RECORD_TIMEOUT_MS = 5_000;

/**
 * @typedef {object} World
 * @property {() => Session | null} session
 * @property {() => Member | null} me
 * @property {() => Permissions | null} permissions null before they are known
 * @property {() => boolean} encrypted
 * @property {(publication: Publication, muted: boolean) => void} onMuted
 * @property {(publication: Publication) => void} onUnpublished
 */

export class Publishing {
  /** @type {Publication[]} */
  all = [];
  /** @type {Set<() => void>} */
  #waiting = new Set();
  /** @type {Promise<void>} */
  #obeying = Promise.resolve();

  /** @param {World} world */
  constructor(world) {
    this.world = world;
  }

  /** What the session sends. */
  get sent() {
    return this.all.filter(({ withheld }) => !withheld);
  }

  /** Decides what a new session sends: all whose source is allowed, as far as that is known. */
  beginSession() {
    for (const publication of this.all) publication.withheld = !this.#allowed(publication);
  }

  /** @param {Publication} publication */
  #allowed({ source }) {
    return this.world.permissions()?.publish.includes(source) ?? true;
  }

  /**
   * Gives up the sections of what is not allowed any more, since the node would refuse every later offer with them in it, and sends
   * what is allowed again.
   */
  onPermissions() {
    this.#obeying = this.#obeying.then(() => this.#obey()).catch((error) => {
      if (!(error instanceof RoomError)) throw error;
    });
    return this.#obeying;
  }

  async #obey() {
    const session = this.world.session();
    if (!session?.told || session.ended) return;
    for (const publication of [...this.all]) {
      const withheld = !this.#allowed(publication);
      if (withheld === publication.withheld) continue;
      publication.withheld = withheld;
      if (withheld) await session.unpublish(publication);
      else await session.publish(publication);
    }
  }

  /**
   * A publication that the next offer carries.
   * @param {MediaStreamTrack} track
   * @param {PublishOptions} options
   */
  add(track, options) {
    const publication = new Publication(track, options, {
      update: (publication, change) => this.#update(publication, change),
      drop: (publication) => this.drop(publication),
    });
    if (this.world.encrypted()) this.mayEncrypt(publication);
    this.all.push(publication);
    publication.onEnded = () => {
      if (!this.all.includes(publication)) return;
      this.drop(publication).catch(() => {});
      this.world.onUnpublished(publication);
    };
    return publication;
  }

  /**
   * Publishes in the session that there is.
   * @param {MediaStreamTrack} track
   * @param {PublishOptions} options
   */
  async publish(track, options) {
    const publication = this.add(track, options);
    if (!this.#allowed(publication)) {
      this.#remove(publication);
      throw new RoomError({ status: 403, title: "Not allowed", detail: `This member may not publish ${publication.source}.` });
    }
    const session = this.world.session();
    try {
      // Without a session there will soon be one, which sends all that is in the list.
      if (session && !session.ended) await session.publish(publication);
      return publication;
    } catch (error) {
      // A session that was lost meanwhile has a successor, which sends it.
      if (session?.ended) return publication;
      this.#remove(publication);
      await session?.unpublish(publication).catch(() => {});
      throw error;
    }
  }

  /** @param {Publication} publication */
  async drop(publication) {
    if (!this.#remove(publication)) return;
    const session = this.world.session();
    if (session && !session.ended) await session.unpublish(publication);
  }

  /** @param {Publication} publication */
  #remove(publication) {
    const at = this.all.indexOf(publication);
    if (at >= 0) this.all.splice(at, 1);
    return at >= 0;
  }

  /** @param {Publication} publication */
  mayEncrypt({ kind, codec }) {
    // What stays clear of a frame depends on the codec (e2ee-frames.js).
    if (kind === "video" && codec.toUpperCase() !== "VP8") throw new TypeError(`end-to-end encryption works with VP8, not with ${codec}`);
  }

  /** The node's record of oneself changed. */
  onRecord() {
    for (const look of [...this.#waiting]) look();
  }

  /**
   * The node's track of a publication: tracks of a source stand in the record in the order in which they were published.
   * @param {Publication} publication
   */
  trackOf(publication) {
    const of = (/** @type {{source: string, kind: string}} */ one) => one.source === publication.source && one.kind === publication.kind;
    const at = this.all.filter((one) => of(one) && !one.withheld).indexOf(publication);
    return at < 0 ? null : ([...(this.world.me()?.tracks.values() ?? [])].filter(of)[at] ?? null);
  }

  /**
   * @param {Publication} publication
   * @param {{muted?: boolean, name?: string}} change
   */
  async #update(publication, change) {
    const session = this.world.session();
    // A session that is still to be made tells it in its offer.
    if (!session?.events || session.ended || !publication.transceiver) return;
    const track = await this.#recorded(publication);
    if (track) await session.events.command({ type: "update_track", track: track.id, ...change });
    else await session.peer.negotiate();
  }

  /** @param {Publication} publication */
  async #recorded(publication) {
    const until = Date.now() + RECORD_TIMEOUT_MS;
    for (;;) {
      const track = this.trackOf(publication);
      if (track || Date.now() > until) return track;
      await new Promise((resolve) => {
        const look = () => {
          clearTimeout(timer);
          this.#waiting.delete(look);
          resolve(undefined);
        };
        const timer = setTimeout(look, RECORD_TIMEOUT_MS);
        this.#waiting.add(look);
      });
    }
  }

  /**
   * An administrator muted a track, or let it be heard again.
   * @param {string} id
   * @param {boolean} muted
   */
  async onMuted(id, muted) {
    const publication = this.all.find((one) => this.trackOf(one)?.id === id);
    if (!publication) return;
    if (!muted && publication.muted && !publication.mutedByAdmin) {
      // The user muted it: nobody else switches a microphone on. The node is told again, so that the others see what is so.
      this.world.onMuted(publication, false);
      await this.#update(publication, { muted: true }).catch((error) => {
        if (!(error instanceof RoomError)) throw error;
      });
      return;
    }
    publication.muted = muted;
    publication.mutedByAdmin = muted;
    await publication.apply();
    this.world.onMuted(publication, muted);
  }
}
