// One session at the node: a peer connection, its events, its data channels. A room makes a new one when this one is lost.

import { DataChannels } from "./datachannels.js";
import { EventChannel } from "./events.js";
import { Peer } from "./peer.js";
import { Recovery } from "./recovery.js";
import { offer as offerPublication } from "./publications.js";

/** @import {Http, RoomError} from "./http.js" */
/** @import {Carrier} from "./events.js" */
/** @import {Encryption} from "./e2ee.js" */
/** @import {DataMessage} from "./datachannels.js" */
/** @import {Publication} from "./publications.js" */
/** @import {Slot, Slots} from "./slots.js" */
/** @import {Message, TrackDescription} from "./types.js" */

/** From the end of the transport to the message of the events that says why. */
const WORD_WITHIN_MS = 1_000;

/**
 * What a session needs of its room.
 * @typedef {object} Host
 * @property {Http} http
 * @property {string} endpoint URL of the room's sessions
 * @property {RTCIceServer[] | undefined} iceServers
 * @property {Carrier} carrier
 * @property {string[]} topics channels to open at once; empty: no data channels
 * @property {Slots} slots
 * @property {() => void} beginSession decides what a new session sends
 * @property {() => Publication[]} publications
 * @property {() => Record<string, unknown>} admission
 * @property {Encryption} encryption
 * @property {(session: Session, message: Message) => void} message
 * @property {(session: Session, message: DataMessage) => void} data
 * @property {(session: Session) => void} changed media or events began or ceased to flow
 * @property {(session: Session) => void} blocked the first connection is not made in time
 * @property {(session: Session, reason: string, error?: RoomError) => void} lost the session is of no use any more
 */

export class Session {
  /** @type {EventChannel | null} */
  events = null;
  /** @type {Recovery | null} */
  recovery = null;
  /** @type {DataChannels | null} */
  data = null;
  /** Sections that publications gave up. @type {Set<RTCRtpTransceiver>} */
  free = new Set();
  /** Set when the node told everything. */
  told = false;
  #ended = false;

  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    /** Whether frames may be encrypted in this session. */
    this.encryptable = host.encryption.prepared;
    this.peer = new Peer(host.http, host.endpoint, {
      iceServers: host.iceServers,
      tracks: () => /** @type {TrackDescription[]} */ (host.publications().map(({ description }) => description).filter(Boolean)),
      admission: host.admission,
    });
  }

  get ended() {
    return this.#ended;
  }

  get mediaUp() {
    return this.recovery?.connected ?? false;
  }

  get eventsUp() {
    return (this.events?.up ?? false) && this.told;
  }

  /** Makes the session; throws {@link RoomError} when the node refuses. */
  async open() {
    const { host, peer } = this;
    // Slots come first: the section that carries the transport of all others must not be one that is given up some day.
    host.slots.offer(peer.pc, host.slots.all, host.encryption);
    host.beginSession();
    for (const publication of host.publications()) await offerPublication(peer.pc, publication, this.free, host.encryption);
    if (host.topics.length > 0) {
      this.data = new DataChannels(peer.pc, (message) => host.data(this, message));
      for (const topic of host.topics) this.data.prepare(topic, false);
    }
    await peer.negotiate();
    if (this.#ended || !peer.url) return;
    this.events = new EventChannel(
      host.http,
      peer.url,
      {
        message: (message) => {
          if (this.#ended) return;
          if (message.type === "snapshot") this.told = true;
          host.message(this, message);
          if (message.type === "snapshot") host.changed(this);
        },
        up: () => host.changed(this),
        down: () => host.changed(this),
        gone: (error) => this.#lose(error.status === 404 || error.status === 410 ? "session_unknown" : "refused", error),
      },
      { carrier: host.carrier },
    );
    this.events.start();
    this.recovery = new Recovery(peer, {
      media: () => host.changed(this),
      blocked: () => host.blocked(this),
      lost: (reason) => this.#lostMedia(reason),
    });
  }

  /** @param {Slot[]} slots */
  async addSlots(slots) {
    this.host.slots.offer(this.peer.pc, slots, this.host.encryption);
    await this.peer.negotiate();
  }

  /** @param {Publication} publication */
  async publish(publication) {
    await offerPublication(this.peer.pc, publication, this.free, this.host.encryption);
    await this.peer.negotiate();
  }

  /** @param {Publication} publication */
  async unpublish(publication) {
    const { transceiver } = publication;
    publication.transceiver = null;
    if (!transceiver) return;
    await transceiver.sender.replaceTrack(null);
    if (transceiver.mid === null) {
      transceiver.stop();
      return;
    }
    transceiver.direction = "inactive";
    this.free.add(transceiver);
    await this.peer.negotiate();
  }

  /**
   * The end of the transport does not say why; the events do, and may come a moment later. Without them a member who was removed
   * would be taken for one whose connection was lost, and would join again.
   * @param {string} reason
   */
  #lostMedia(reason) {
    if (reason === "peer_closed" && this.events?.up) setTimeout(() => this.#lose(reason), WORD_WITHIN_MS);
    else this.#lose(reason);
  }

  /**
   * @param {string} reason
   * @param {RoomError} [error]
   */
  #lose(reason, error) {
    if (!this.#ended) this.host.lost(this, reason, error);
  }

  /** It is of no use any more, but the node goes on to think that its member is there. */
  retire() {
    this.#ended = true;
    this.recovery?.end();
    this.events?.stop();
  }

  /** @param {{goodbye?: boolean}} [options] */
  close(options) {
    this.retire();
    this.peer.close(options);
  }
}
