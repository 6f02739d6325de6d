// Slots: receiving sections of the peer connection, which the node points at tracks. Here they meet the browser's streams, the
// elements that show them, and the loudspeaker.

/** @import {Encryption} from "./e2ee.js" */
/** @import {Kind, SlotState, Source} from "./types.js" */
/** @import {Member, RemoteTrack, RoomState} from "./state.js" */
/** @import {Publication} from "./publications.js" */

/** One slot. The object outlives the session: after a new one it has another `mid` and another stream. */
export class Slot {
  /** @type {RTCRtpTransceiver | null} */
  transceiver = null;
  /** What plays; a new object whenever another track flows, so that an element does not go on with the old picture. @type {MediaStream | null} */
  stream = null;
  /** Id of the track that flows. @type {string | null} */
  trackId = null;
  /** @type {SlotState} */
  state = "empty";
  #state;

  /**
   * @param {Kind} kind
   * @param {RoomState} state
   */
  constructor(kind, state) {
    /** @type {Kind} */
    this.kind = kind;
    this.#state = state;
  }

  /** Its media section; "" before the first answer. */
  get mid() {
    return this.transceiver?.mid ?? "";
  }

  /** The browser's track, which is the same whatever flows. @type {MediaStreamTrack | null} */
  get mediaStreamTrack() {
    return this.transceiver?.receiver.track ?? null;
  }

  /**
   * The track that flows; null when none does, or when its member is hidden. It is looked up among the members, since what flows
   * may be told before the member is.
   * @type {RemoteTrack | null}
   */
  get track() {
    return this.trackId === null ? null : this.#state.track(this.trackId);
  }

  /** Who is shown or heard; null when nobody is, or when the member is hidden. @type {Member | null} */
  get member() {
    return this.track?.member ?? null;
  }

  /** Identity of the member who is shown or heard. @type {string | null} */
  get identity() {
    return this.member?.identity ?? null;
  }
}

/** All slots of a room, in the order in which they were made. */
export class Slots {
  /** @type {Slot[]} */
  all = [];
  #state;

  /** @param {RoomState} state */
  constructor(state) {
    this.#state = state;
  }

  /** @param {Kind} kind */
  count(kind) {
    return this.all.filter((slot) => slot.kind === kind).length;
  }

  /**
   * Makes slots until there are so many of a kind; gives the new ones.
   * @param {Kind} kind
   * @param {number} wanted
   */
  grow(kind, wanted) {
    const fresh = [];
    while (this.count(kind) < wanted) {
      const slot = new Slot(kind, this.#state);
      this.all.push(slot);
      fresh.push(slot);
    }
    return fresh;
  }

  /**
   * Gives slots their sections in a peer connection.
   * @param {RTCPeerConnection} pc
   * @param {Slot[]} slots
   * @param {Encryption} encryption
   */
  offer(pc, slots, encryption) {
    for (const slot of slots) {
      slot.transceiver = pc.addTransceiver(slot.kind, { direction: "recvonly" });
      encryption.open(slot.transceiver.receiver, slot.kind, String(this.all.indexOf(slot)));
      slot.trackId = slot.stream = null;
      slot.state = "empty";
    }
  }

  /**
   * Takes over what the node says of some slots; gives those that are there.
   * @param {string[]} mids
   */
  refresh(mids) {
    const changed = [];
    for (const slot of this.all) {
      const wire = slot.mid ? this.#state.slots.get(slot.mid) : undefined;
      if (!wire || !mids.includes(slot.mid)) continue;
      const another = slot.trackId !== wire.track;
      slot.trackId = wire.track;
      slot.state = wire.state;
      if (!slot.trackId) slot.stream = null;
      else if ((another || !slot.stream) && slot.mediaStreamTrack) slot.stream = new MediaStream([slot.mediaStreamTrack]);
      changed.push(slot);
    }
    return changed;
  }

  /**
   * The slot in which a track of a member flows.
   * @param {string} identity
   * @param {(slot: Slot) => boolean} matches
   */
  find(identity, matches) {
    return this.all.find((slot) => slot.identity === identity && slot.trackId !== null && matches(slot)) ?? null;
  }
}

/** What an element may show: a member, one of its tracks, a slot, or what the page itself publishes. @typedef {Member | RemoteTrack | Slot | Publication} Target */

/** Elements and what they show. An element follows its member or track from slot to slot. */
export class Attachments {
  /** @type {Map<HTMLMediaElement, {target: Target, source: Source | null}>} */
  #shown = new Map();

  /** @param {{slots: Slots, me: () => Member | null, publications: () => Publication[]}} world */
  constructor(world) {
    this.world = world;
  }

  /**
   * @param {HTMLMediaElement} element
   * @param {Target} target
   * @param {Source | null} source for members: which of their tracks; by default the camera, then the screen
   */
  add(element, target, source) {
    this.#shown.set(element, { target, source });
    element.autoplay = true;
    if (element.tagName === "VIDEO") {
      /** @type {HTMLVideoElement} */ (element).playsInline = true;
      // Sound comes out of the audio slots; an element that is not muted may not begin to play by itself.
      element.muted = true;
    }
    this.#show(element, target, source);
  }

  /** @param {HTMLMediaElement} element */
  remove(element) {
    if (this.#shown.delete(element)) element.srcObject = null;
  }

  /** Gives every element what it has to show now. */
  refresh() {
    for (const [element, { target, source }] of this.#shown) this.#show(element, target, source);
  }

  clear() {
    for (const element of [...this.#shown.keys()]) this.remove(element);
  }

  /**
   * @param {HTMLMediaElement} element
   * @param {Target} target
   * @param {Source | null} source
   */
  #show(element, target, source) {
    const stream = this.#streamOf(target, source, element.tagName === "AUDIO" ? "audio" : "video");
    if (element.srcObject === stream) return;
    element.srcObject = stream;
    // Refused where the page may not play yet; `autoplay` tries again when it may.
    if (stream) element.play().catch(() => {});
  }

  /**
   * @param {Target} target
   * @param {Source | null} source
   * @param {Kind} kind
   * @returns {MediaStream | null}
   */
  #streamOf(target, source, kind) {
    const { slots, me, publications } = this.world;
    if (target instanceof Slot) return target.stream;
    if ("preview" in target) return target.preview;
    if ("source" in target) {
      const { member, id, source } = target;
      // A member that comes back with a new session publishes the same sources with other ids.
      const slot = slots.find(member.identity, (slot) => slot.trackId === id) ?? slots.find(member.identity, (slot) => slot.track?.source === source);
      return slot?.stream ?? null;
    }
    /** @type {Source[]} */
    const wanted = source ? [source] : kind === "video" ? ["camera", "screen"] : ["microphone", "screen-audio"];
    for (const one of wanted) {
      if (target === me()) {
        const own = publications().find((publication) => publication.source === one && publication.preview);
        if (own) return own.preview;
      } else {
        const slot = slots.find(target.identity, (slot) => slot.kind === kind && slot.track?.source === one);
        if (slot) return slot.stream;
      }
    }
    return null;
  }
}

/** The loudspeaker: an element without a place in the page for each audio slot. */
export class Loudspeaker {
  /** @type {Map<Slot, HTMLAudioElement>} */
  #elements = new Map();
  #sink = "";
  /** The browser lets nothing be heard before the user did something in the page. */
  blocked = false;

  /** @param {(blocked: boolean) => void} onBlocked */
  constructor(onBlocked) {
    this.onBlocked = onBlocked;
  }

  /** @param {Slot[]} slots */
  refresh(slots) {
    for (const slot of slots) {
      if (slot.kind !== "audio" || !slot.mediaStreamTrack) continue;
      let element = this.#elements.get(slot);
      if (!element) {
        element = new Audio();
        element.autoplay = true;
        this.#elements.set(slot, element);
        if (this.#sink) void element.setSinkId?.(this.#sink).catch(() => {});
      }
      const playing = /** @type {MediaStream | null} */ (element.srcObject)?.getTracks()[0];
      if (playing === slot.mediaStreamTrack) continue;
      // The same track plays on whoever speaks: there is no gap when the slot goes to another member.
      element.srcObject = new MediaStream([slot.mediaStreamTrack]);
      element.play().catch((error) => this.#refused(error));
    }
  }

  /** @param {unknown} error */
  #refused(error) {
    if (/** @type {any} */ (error)?.name !== "NotAllowedError" || this.blocked) return;
    this.blocked = true;
    this.onBlocked(true);
  }

  /** Plays what the browser refused; called from a click or a key. */
  async start() {
    await Promise.all([...this.#elements.values()].map((element) => element.play()));
    if (this.blocked) this.onBlocked((this.blocked = false));
  }

  /** @param {string} deviceId */
  async use(deviceId) {
    this.#sink = deviceId;
    await Promise.all([...this.#elements.values()].map((element) => element.setSinkId(deviceId)));
  }

  close() {
    for (const element of this.#elements.values()) element.srcObject = null;
    this.#elements.clear();
  }
}
