// A room as a page sees it: members, slots, what the page publishes, messages.

import { Connection } from "./connection.js";
import { Encryption } from "./e2ee.js";
import { Emitter } from "./emitter.js";
import { RoomError } from "./http.js";
import { fromEvents, send } from "./messages.js";
import { Publishing } from "./publishing.js";
import { Attachments, Loudspeaker, Slots } from "./slots.js";
import { RoomState } from "./state.js";
import { Meter } from "./stats.js";
import { Subscriptions } from "./subscriptions.js";

/** @import {State, Trouble} from "./connection.js" */
/** @import {DataMessage} from "./datachannels.js" */
/** @import {Carrier} from "./events.js" */
/** @import {Http} from "./http.js" */
/** @import {DataEvent, SendOptions} from "./messages.js" */
/** @import {Publication, PublishOptions} from "./publications.js" */
/** @import {Session} from "./session.js" */
/** @import {Slot, Target} from "./slots.js" */
/** @import {Change, Member, Speaker} from "./state.js" */
/** @import {SlotWish} from "./subscriptions.js" */
/** @import {Message, Permissions, Quality, RoomInfo, SlotsWanted, Source, TokenSource} from "./types.js" */

/**
 * Events and their details.
 * @typedef {object} RoomEvents
 * @property {{member: Member, joined: boolean}} member somebody joined, or something of a member changed
 * @property {{member: Member, reason: string}} memberleft
 * @property {{slots: Slot[]}} slots what flows through some slots changed, or there are new ones
 * @property {{speakers: Speaker[]}} speakers the loudest first
 * @property {{member: Member, quality: Quality}} quality
 * @property {DataEvent} data
 * @property {{messages: number}} datalost messages for us were dropped, since too many waited
 * @property {{info: RoomInfo}} room
 * @property {{permissions: Permissions}} permissions
 * @property {{publication: Publication, muted: boolean}} muted an administrator muted a track of ours, or wants it to be heard again
 * @property {{publication: Publication}} unpublished a track of ours ended by itself: the user stopped to share the screen, a device went
 * @property {{state: State, trouble: Trouble | null}} state
 * @property {{reason: string, detail: string}} closed the last event
 * @property {{seconds: number}} tokenexpiring
 * @property {{blocked: boolean}} audioblocked the browser lets nothing be heard until `startAudio` is called from a click
 * @property {{slot: Slot, readable: boolean}} encryption whether what comes through a slot can be decrypted
 */

/**
 * @typedef {object} RoomOptions
 * @property {string} endpoint URL of the room's sessions
 * @property {Http} http
 * @property {string | undefined} identity
 * @property {string | undefined} name
 * @property {string | undefined} metadata
 * @property {number} audioSlots
 * @property {number} videoSlots
 * @property {string[]} topics
 * @property {boolean} autoplay
 * @property {RTCIceServer[] | undefined} iceServers
 * @property {Carrier} carrier
 * @property {URL | string | undefined} workerUrl
 */

/** Video slots of the first offer; more are offered when the node says that they would be used. */
const VIDEO_SLOTS_FIRST = 4;

/** @extends {Emitter<RoomEvents>} */
export class Room extends Emitter {
  #options;
  #known = new RoomState();
  #slots = new Slots(this.#known);
  #subscriptions = new Subscriptions(this.#slots, this.#known);
  #meter = new Meter();
  #profile;
  #connection;
  #publishing;
  #attachments;
  #loudspeaker;
  #encryption;

  /** For `join`. @param {RoomOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#profile = { name: options.name, metadata: options.metadata };
    this.#encryption = new Encryption(options.workerUrl, (name, readable) => {
      const slot = this.#slots.all[Number(name)];
      if (slot) this.emit("encryption", { slot, readable });
    });
    this.#publishing = new Publishing({
      session: () => this.#connection.session,
      me: () => this.#known.me,
      permissions: () => (this.#known.info ? this.#known.permissions : null),
      encrypted: () => this.#encryption.on,
      onMuted: (publication, muted) => this.emit("muted", { publication, muted }),
      onUnpublished: (publication) => this.emit("unpublished", { publication }),
    });
    this.#attachments = new Attachments({ slots: this.#slots, me: () => this.#known.me, publications: () => this.#publishing.all });
    this.#loudspeaker = new Loudspeaker((blocked) => this.emit("audioblocked", { blocked }));
    this.#slots.grow("audio", options.audioSlots);
    this.#slots.grow("video", Math.min(options.videoSlots, VIDEO_SLOTS_FIRST));
    this.#connection = new Connection({
      http: options.http,
      endpoint: options.endpoint,
      iceServers: options.iceServers,
      carrier: options.carrier,
      topics: options.topics,
      slots: this.#slots,
      beginSession: () => this.#publishing.beginSession(),
      publications: () => this.#publishing.sent,
      admission: () => this.#admission(),
      encryption: this.#encryption,
      message: (message) => this.#take(message),
      data: (message) => this.#receive(message),
      state: (state, trouble) => this.emit("state", { state, trouble }),
      opening: () => this.#known.forgetSlots(),
      opened: (session) => this.#opened(session),
      closed: (reason, detail) => this.#closed(reason, detail),
    });
  }

  // What is so ---------------------------------------------------------------------------------------------------------

  /** Oneself. */
  get me() {
    if (!this.#known.me) throw new Error("the room is not joined yet");
    return this.#known.me;
  }

  /** All members by identity, oneself too. @type {ReadonlyMap<string, Member>} */
  get members() {
    return this.#known.members;
  }

  get permissions() {
    return this.#known.permissions;
  }

  get info() {
    return this.#known.info;
  }

  /** Who speaks, the loudest first. */
  get speakers() {
    return this.#known.speakers;
  }

  /** @type {readonly Slot[]} */
  get slots() {
    return this.#slots.all;
  }

  /** What the page sends. @type {readonly Publication[]} */
  get publications() {
    return this.#publishing.all;
  }

  get state() {
    return this.#connection.state;
  }

  /** What a connection that is not complete lacks; null where nothing is the matter. */
  get trouble() {
    return this.#connection.trouble;
  }

  /** Which way events come: "websocket", "sse", or null while they do not. */
  get eventsBy() {
    return this.#connection.session?.events?.by ?? null;
  }

  /** URL of the session; null while there is none. */
  get sessionUrl() {
    return this.#connection.session?.peer.url ?? null;
  }

  /** The browser's connection at the moment, for statistics; another one after a reconnection. */
  get peerConnection() {
    return this.#connection.session?.peer.pc ?? null;
  }

  /** Whether end-to-end encryption is on. */
  get encrypted() {
    return this.#encryption.on;
  }

  // Joining and leaving ------------------------------------------------------------------------------------------------

  /**
   * For `join`. Throws when the node refuses or does not answer.
   * @param {{track: MediaStreamTrack, options: PublishOptions}[]} tracks
   * @param {string | null} passphrase
   * @param {AbortSignal} [signal]
   */
  async open(tracks, passphrase, signal) {
    const abort = () => this.#connection.close("aborted", "", signal?.reason);
    if (signal?.aborted) abort();
    signal?.throwIfAborted();
    signal?.addEventListener("abort", abort, { once: true });
    if (passphrase !== null) await this.#encryption.use(passphrase, this.#options.endpoint.split("/").at(-2) ?? "");
    for (const { track, options } of tracks) this.#publishing.add(track, options);
    await this.#connection.open();
  }

  /** Leaves the room. What the page published is not sent any more; its devices stay open. */
  async leave() {
    if (this.state === "closed") return;
    await this.#connection.session?.peer.goodbye();
    this.#connection.close("left", "");
  }

  /** Connects anew where that is under way, without a pause; restarts ICE otherwise. */
  reconnect() {
    this.#connection.networkChanged();
  }

  #admission() {
    const identity = this.#known.me?.identity ?? this.#options.identity;
    const { name, metadata } = this.#profile;
    return { ...(identity && { identity }), ...(name !== undefined && { name }), ...(metadata !== undefined && { metadata }), subscribe: this.#subscriptions.admission };
  }

  /** @param {Session} session */
  async #opened(session) {
    try {
      await this.#subscriptions.placed(session);
      await this.#grow(this.#known.wanted);
    } catch (error) {
      // Refused, or lost on the way: the session is a good one all the same, and what comes next tries again.
      if (!(error instanceof RoomError)) throw error;
    }
  }

  async #place() {
    const { session } = this.#connection;
    if (session?.told && !session.ended) await this.#subscriptions.placed(session);
  }

  /**
   * @param {string} reason
   * @param {string} detail
   */
  #closed(reason, detail) {
    this.#attachments.clear();
    this.#loudspeaker.close();
    this.#encryption.close();
    this.emit("closed", { reason, detail });
  }

  // Sending ------------------------------------------------------------------------------------------------------------

  /**
   * Sends a track to the room.
   * @param {MediaStreamTrack} track
   * @param {PublishOptions} [options]
   * @returns {Promise<Publication>}
   */
  publish(track, options = {}) {
    return this.#publishing.publish(track, options);
  }

  /**
   * Sends a message to members of the room. Resolves when it is handed over; throws {@link RoomError} where the node refuses it.
   * @param {string} topic
   * @param {string | ArrayBuffer | ArrayBufferView} payload at most 64 KiB
   * @param {SendOptions} [options]
   */
  async send(topic, payload, options = {}) {
    await send(this.#live(), this.permissions, topic, payload, options);
  }

  /**
   * Changes how the others see oneself.
   * @param {{name?: string, metadata?: string}} change
   */
  async update(change) {
    await this.#command({ type: "update_me", ...change });
    Object.assign(this.#profile, change);
  }

  /**
   * Uses another token from now on: a fresh one, or one with other grants.
   * @param {TokenSource} [token] by default a fresh one of the function that was given to `join`
   */
  async setToken(token) {
    const { http } = this.#options;
    if (token !== undefined) http.use(token);
    const fresh = await http.renew();
    if (fresh) await this.#command({ type: "refresh_token", token: fresh });
  }

  // Receiving ----------------------------------------------------------------------------------------------------------

  /**
   * How the video slots are filled. `auto`: by the node, pinned members first, then shared screens, who spoke last, who was seen
   * last. `manual`: with the tracks that are named. Audio slots get the loudest either way.
   *
   * @overload
   * @param {"auto"} policy
   * @param {{pinned?: (Member | string)[]}} [options]
   * @returns {Promise<void>}
   *
   * @overload
   * @param {"manual"} policy
   * @param {SlotWish[]} options
   * @returns {Promise<void>}
   *
   * @param {"auto" | "manual"} policy
   * @param {{pinned?: (Member | string)[]} | SlotWish[]} [options]
   * @returns {Promise<void>}
   */
  async subscribe(policy, options = {}) {
    if (policy === "manual") this.#subscriptions.manual(/** @type {SlotWish[]} */ (options));
    else this.#subscriptions.auto(/** @type {{pinned?: (Member | string)[]}} */ (options).pinned ?? []);
    const session = this.#connection.session;
    // A session that is being made again is told by its offer.
    if (!session?.told || session.ended) return;
    const { missing } = this.#subscriptions.command;
    if (missing > 0) await this.#grow({ audio: 0, video: this.#slots.count("video") + missing });
    await this.#command(this.#subscriptions.command.command);
  }

  /**
   * Shows something in an element for as long as it is there: a member (its camera, or its screen where it has no camera), one of
   * its tracks, a slot, or what the page itself publishes.
   * @param {Target} target
   * @param {HTMLMediaElement} element
   * @param {{source?: Source}} [options] of a member's tracks, which one
   */
  attach(target, element, { source } = {}) {
    this.#attachments.add(element, target, source ?? null);
    return element;
  }

  /** @param {HTMLMediaElement} element */
  detach(element) {
    this.#attachments.remove(element);
  }

  /** Whether the browser lets nothing be heard until `startAudio` is called from a click. */
  get audioBlocked() {
    return this.#loudspeaker.blocked;
  }

  /** Lets sound be heard after `audioblocked`; call it from a click or a key. */
  startAudio() {
    return this.#loudspeaker.start();
  }

  /**
   * Plays the sound on another device, where the browser can.
   * @param {string} deviceId
   */
  setAudioOutput(deviceId) {
    return this.#loudspeaker.use(deviceId);
  }

  /**
   * Encrypts end to end with a passphrase that all members know; null: without encryption from now on. Video has to be VP8.
   * A room that was joined without a passphrase is joined anew for it, which takes a moment.
   * @param {string | null} passphrase
   */
  async setEncryptionKey(passphrase) {
    if (passphrase !== null) for (const publication of this.#publishing.all) this.#publishing.mayEncrypt(publication);
    await this.#encryption.use(passphrase, this.#options.endpoint.split("/").at(-2) ?? "");
    const { session } = this.#connection;
    if (passphrase !== null && session && !session.encryptable) await this.#connection.replace();
  }

  /** Figures of all slots and publications; rates are those since the last call. Null while there is no connection. */
  async stats() {
    const pc = this.peerConnection;
    return pc ? this.#meter.measure(pc, this.#slots.all, this.#publishing.all) : null;
  }

  // What the node says -------------------------------------------------------------------------------------------------

  #live() {
    const session = this.#connection.session;
    if (!session || session.ended) throw new RoomError({ status: 0, title: "Not connected", detail: "The room is being joined again, or was left." });
    return session;
  }

  /** @param {import("./types.js").Command} command */
  async #command(command) {
    const { events } = this.#live();
    if (!events) throw new RoomError({ status: 0, title: "Not connected", detail: "The room is being joined." });
    await events.command(command);
  }

  /** @param {Message} message */
  #take(message) {
    for (const change of this.#known.apply(message)) this.#change(change);
    switch (message.type) {
      case "data":
        this.#receive(fromEvents(message));
        break;
      case "data_lost":
        this.emit("datalost", { messages: message.messages });
        break;
      case "muted":
        void this.#publishing.onMuted(message.track, message.muted);
        break;
      case "token_expiring":
        this.emit("tokenexpiring", { seconds: message.seconds });
        // What fails here is told by the end of the session; until then the application may do better.
        if (this.#options.http.renews) this.setToken().catch(() => {});
        break;
    }
  }

  /** @param {Change} change */
  #change(change) {
    switch (change.type) {
      case "slots": {
        const slots = this.#slots.refresh(change.mids);
        this.#refresh();
        if (slots.length > 0) this.emit("slots", { slots });
        break;
      }
      case "wanted":
        // A refusal changes nothing: the slots that there are stay as they are.
        this.#grow(change.wanted).catch(() => {});
        break;
      case "member":
        if (change.member.isMe) this.#publishing.onRecord();
        // What fails here is told anew with the next session.
        if (this.#subscriptions.followed(change.member)) this.#place().catch(() => {});
        this.#refresh();
        this.emit("member", change);
        break;
      case "permissions":
        void this.#publishing.onPermissions();
        this.emit("permissions", change);
        break;
      default:
        this.emit(change.type, /** @type {any} */ (change));
    }
  }

  #refresh() {
    this.#attachments.refresh();
    if (this.#options.autoplay) this.#loudspeaker.refresh(this.#slots.all);
  }

  /** @param {DataMessage} message */
  #receive({ from, ...message }) {
    this.emit("data", { from: from === null ? null : (this.#known.members.get(from) ?? null), identity: from, ...message });
  }

  /**
   * Offers more slots when they would be used.
   * @param {SlotsWanted} wanted
   */
  async #grow(wanted) {
    const { session } = this.#connection;
    const { audioSlots, videoSlots } = this.#options;
    if (!session?.told || session.ended) return;
    const fresh = [...this.#slots.grow("audio", Math.min(wanted.audio, audioSlots)), ...this.#slots.grow("video", Math.min(wanted.video, videoSlots))];
    if (fresh.length === 0) return;
    await session.addSlots(fresh);
    // What the node said of them before the answer was here.
    this.#slots.refresh(fresh.map(({ mid }) => mid));
    this.#refresh();
    this.emit("slots", { slots: fresh });
  }
}
