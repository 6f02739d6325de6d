// How the slots are to be filled: by the node (`auto`), or as the page names it (`manual`). It is kept, so that a new session is
// filled as the old one was.

import { place } from "./subscription.js";

/** @import {Session} from "./session.js" */
/** @import {Member, RemoteTrack, RoomState} from "./state.js" */
/** @import {Slot, Slots} from "./slots.js" */
/** @import {Wish} from "./subscription.js" */
/** @import {Command, Source} from "./types.js" */

/**
 * What the page wants in a slot.
 * @typedef {object} SlotWish
 * @property {RemoteTrack | string | null} track the track or its id; null empties the slot
 * @property {Slot | number} [slot] the slot, or its place in `room.slots`; where absent, one is chosen
 * @property {string} [mid] the slot by its media section
 * @property {number} [width] size in pixels at which it is shown; the node sends the layer that fits
 * @property {number} [height]
 * @property {number} [priority] 0 to 255; of two slots for which the line has not enough, the higher one is served first
 * @property {boolean} [paused] nothing flows for now
 */

/**
 * A wish, and whose track it names: a member that comes back with a new session publishes the same sources with other ids. `untold`: it
 * was left out when the node was told last.
 * @typedef {{slot: Slot | null, wish: Wish, of: {identity: string, source: Source} | null, untold: boolean}} Kept
 */

export class Subscriptions {
  /** @type {"auto" | "manual"} */
  policy = "auto";
  /** @type {string[]} */
  #pinned = [];
  /** @type {Kept[]} */
  #wishes = [];
  #slots;
  #known;

  /**
   * @param {Slots} slots
   * @param {RoomState} known
   */
  constructor(slots, known) {
    this.#slots = slots;
    this.#known = known;
  }

  /** What the first offer of a session says. Wishes follow when the sections have their names. */
  get admission() {
    return this.policy === "auto" ? { policy: "auto", pinned: this.#pinned } : { policy: "manual", slots: [] };
  }

  /** @param {(Member | string)[]} pinned */
  auto(pinned) {
    this.policy = "auto";
    this.#pinned = pinned.map((one) => (typeof one === "string" ? one : one.identity));
    this.#wishes = [];
  }

  /** @param {SlotWish[]} wishes */
  manual(wishes) {
    const fresh = wishes.map(({ track, slot, mid, ...rest }) => {
      const named = slot === undefined && mid === undefined ? null : this.#named(slot ?? /** @type {string} */ (mid));
      const known = typeof track === "string" ? this.#known.track(track) : track;
      const of = known && { identity: known.member.identity, source: known.source };
      return { slot: named, of, untold: false, wish: { ...rest, track: typeof track === "string" || track === null ? track : track.id } };
    });
    const named = new Set(fresh.map(({ slot }) => slot).filter(Boolean));
    // Slots that are not named stay as they were wanted.
    this.#wishes = named.size > 0 && this.policy === "manual" ? [...this.#wishes.filter(({ slot }) => slot && !named.has(slot)), ...fresh] : fresh;
    this.policy = "manual";
  }

  /** @param {Slot | number | string} which */
  #named(which) {
    const slot = typeof which === "number" ? this.#slots.all[which] : typeof which === "string" ? this.#slots.all.find(({ mid }) => mid === which) : which;
    if (!slot || slot.kind !== "video") throw new RangeError(`there is no video slot ${typeof which === "object" ? which.mid : which}`);
    return slot;
  }

  /**
   * Lets wishes for tracks that are gone go on with the tracks of the same member and source that are there now. Gives whether any did.
   * @param {Member} member whose record changed
   */
  followed({ identity, tracks }) {
    let changed = false;
    for (const { wish, of, untold } of this.#wishes) {
      if (!of || of.identity !== identity || wish.track === null) continue;
      if (this.#isThere(wish.track, of)) {
        changed ||= untold;
        continue;
      }
      const now = [...tracks.values()].find(({ source }) => source === of.source);
      if (!now) continue;
      wish.track = now.id;
      changed = true;
    }
    return changed;
  }

  /**
   * Whether a track is still the one that was wished for. After a restart of the node its id may be that of another track.
   * @param {string} id
   * @param {{identity: string, source: Source} | null} of
   */
  #isThere(id, of) {
    const track = this.#known.track(id);
    return track !== null && (!of || (track.member.identity === of.identity && track.source === of.source));
  }

  /** @returns {{command: Command, missing: number}} */
  get command() {
    if (this.policy === "auto") return { command: { type: "subscribe", policy: "auto", pinned: this.#pinned }, missing: 0 };
    return this.#place(this.#wishes);
  }

  /**
   * @param {Kept[]} kept
   * @returns {{command: Command, missing: number}}
   */
  #place(kept) {
    const wishes = kept.map(({ slot, wish }) => (slot ? { ...wish, mid: slot.mid } : wish));
    const slots = this.#slots.all.filter(({ kind, mid }) => kind === "video" && mid !== "").map(({ mid, trackId }) => ({ mid, track: trackId }));
    const { placed, missing } = place(wishes, slots);
    return { command: { type: "subscribe", policy: "manual", slots: placed }, missing };
  }

  /**
   * Tells the node of a session that is new, or has new slots. `auto` is told with the offer. Tracks that are not there (any more) are
   * left out, since the node would refuse the whole of it; `followed` finds those that take their place.
   * @param {Session} session
   */
  async placed(session) {
    if (this.policy !== "manual") return;
    for (const kept of this.#wishes) kept.untold = kept.wish.track !== null && !this.#isThere(kept.wish.track, kept.of);
    const there = this.#wishes.filter(({ untold }) => !untold);
    const { command } = this.#place(there);
    if (there.length > 0) await session.events?.command(command);
  }
}
