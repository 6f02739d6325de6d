// What a member knows of its room: the messages of the node go in, changes come out. No network and no browser here.

/** @import {Kind, Message, Permissions, Presence, Quality, RoomInfo, SlotsWanted, Snapshot, Source, WireMember, WireSlot, WireSpeaker, WireTrack} from "./types.js" */

/** A track of a member, as the node announces it. The object stays the same for as long as the track is there. */
export class RemoteTrack {
  name = "";
  muted = false;
  /** Media arrives at the node. */
  active = false;
  /** @type {string[]} */
  codecs = [];
  /** Names of the simulcast layers; empty without simulcast. @type {string[]} */
  layers = [];

  /**
   * @param {Member} member
   * @param {WireTrack} wire
   */
  constructor(member, wire) {
    this.member = member;
    this.id = wire.id;
    /** @type {Kind} */
    this.kind = wire.kind;
    /** @type {Source} */
    this.source = wire.source;
    this.update(wire);
  }

  /** @param {WireTrack} wire */
  update(wire) {
    this.source = wire.source;
    this.name = wire.name;
    this.muted = wire.muted;
    this.active = wire.active;
    this.codecs = wire.codecs;
    this.layers = wire.layers;
  }
}

/** A member of the room. The object stays the same from when the member joins until it leaves. */
export class Member {
  name = "";
  metadata = "";
  /** @type {"session" | "whip" | "local"} */
  kind = "session";
  /** @type {Presence} */
  presence = "connecting";
  /** How good its connection is; null while unknown. @type {Quality | null} */
  quality = null;
  speaking = false;
  /** How loud it speaks, in -dBov: 0 is the loudest, 127 is silence. */
  level = 127;
  /** Its tracks by id. @type {Map<string, RemoteTrack>} */
  tracks = new Map();

  /**
   * @param {string} identity
   * @param {boolean} isMe
   */
  constructor(identity, isMe) {
    this.identity = identity;
    /** Whether this is the member that the page itself is. */
    this.isMe = isMe;
  }

  /** What to call it. */
  get title() {
    return this.name || this.identity;
  }

  /**
   * Its first track of a source.
   * @param {Source} source
   */
  track(source) {
    return [...this.tracks.values()].find((track) => track.source === source) ?? null;
  }

  /** @param {WireMember} wire */
  update(wire) {
    this.name = wire.name;
    this.metadata = wire.metadata;
    this.kind = wire.kind;
    this.presence = wire.presence;
    const before = this.tracks;
    this.tracks = new Map();
    for (const one of wire.tracks) {
      const known = before.get(one.id);
      known?.update(one);
      this.tracks.set(one.id, known ?? new RemoteTrack(this, one));
    }
  }
}

/**
 * @typedef {{type: "member", member: Member, joined: boolean}
 *   | {type: "memberleft", member: Member, reason: string}
 *   | {type: "slots", mids: string[]}
 *   | {type: "wanted", wanted: SlotsWanted}
 *   | {type: "speakers", speakers: Speaker[]}
 *   | {type: "quality", member: Member, quality: Quality}
 *   | {type: "room", info: RoomInfo}
 *   | {type: "permissions", permissions: Permissions}} Change
 */

/** @typedef {{member: Member, level: number}} Speaker */

export class RoomState {
  /** @type {RoomInfo | null} */
  info = null;
  /** Who the page itself is. @type {Member | null} */
  me = null;
  /** @type {Permissions} */
  permissions = { publish: [], subscribe: false, data: false, update_self: false, hidden: false, admin: false };
  /** All members by identity, oneself too. @type {Map<string, Member>} */
  members = new Map();
  /** What the node says of the slots, by mid. @type {Map<string, WireSlot>} */
  slots = new Map();
  /** The slots that could be used. @type {SlotsWanted} */
  wanted = { audio: 0, video: 0 };
  /** Who speaks, the loudest first. @type {Speaker[]} */
  speakers = [];

  /**
   * Takes a message in. Messages that are no news of the room give no changes.
   * @param {Message} message
   * @returns {Change[]}
   */
  apply(message) {
    switch (message.type) {
      case "snapshot":
        return this.#snapshot(message);
      case "member":
        return [this.#member(message.member)];
      case "member_left":
        return this.#left(message.identity, message.reason);
      case "slots":
        for (const slot of message.slots) this.slots.set(slot.mid, slot);
        return [{ type: "slots", mids: message.slots.map(({ mid }) => mid) }];
      case "slots_wanted":
        this.wanted = { audio: message.audio, video: message.video };
        return [{ type: "wanted", wanted: this.wanted }];
      case "speakers":
        return [this.#speak(message.speakers)];
      case "quality":
        return this.#quality(message.identity, message.quality);
      case "room":
        this.info = message.room;
        return [{ type: "room", info: message.room }];
      case "permissions":
        this.permissions = message.permissions;
        return [{ type: "permissions", permissions: message.permissions }];
      default:
        return [];
    }
  }

  /**
   * A track by its id, whoever publishes it.
   * @param {string} id
   */
  track(id) {
    for (const { tracks } of this.members.values()) {
      const track = tracks.get(id);
      if (track) return track;
    }
    return null;
  }

  /** A new session has other slots: what was said of the old ones is void. */
  forgetSlots() {
    this.slots.clear();
  }

  /**
   * All is told anew; what changed since the last time is found out here.
   * @param {Snapshot} snapshot
   */
  #snapshot(snapshot) {
    /** @type {Change[]} */
    const changes = [];
    const here = new Set(snapshot.members.map(({ identity }) => identity));
    if (this.me && this.me.identity !== snapshot.me) this.me.isMe = false;
    for (const member of [...this.members.values()]) {
      if (!here.has(member.identity)) changes.push(...this.#left(member.identity, "missed"));
    }
    this.info = snapshot.room;
    this.permissions = snapshot.permissions;
    const me = this.members.get(snapshot.me) ?? new Member(snapshot.me, true);
    me.isMe = true;
    this.me = me;
    changes.push({ type: "room", info: snapshot.room }, { type: "permissions", permissions: snapshot.permissions });
    for (const wire of snapshot.members) changes.push(this.#member(wire));
    for (const [identity, quality] of Object.entries(snapshot.quality ?? {})) changes.push(...this.#quality(identity, quality));
    this.slots = new Map(snapshot.slots.map((slot) => [slot.mid, slot]));
    this.wanted = snapshot.slots_wanted;
    changes.push({ type: "slots", mids: [...this.slots.keys()] }, this.#speak(snapshot.speakers), { type: "wanted", wanted: this.wanted });
    return changes;
  }

  /**
   * @param {WireMember} wire
   * @returns {Change}
   */
  #member(wire) {
    let member = this.members.get(wire.identity);
    const joined = !member;
    if (!member) {
      member = this.me?.identity === wire.identity ? this.me : new Member(wire.identity, false);
      this.members.set(wire.identity, member);
    }
    member.update(wire);
    return { type: "member", member, joined };
  }

  /**
   * @param {string} identity
   * @param {string} reason
   * @returns {Change[]}
   */
  #left(identity, reason) {
    const member = this.members.get(identity);
    if (!member) return [];
    this.members.delete(identity);
    member.tracks = new Map();
    member.speaking = false;
    this.speakers = this.speakers.filter((speaker) => speaker.member !== member);
    return [{ type: "memberleft", member, reason }];
  }

  /**
   * @param {WireSpeaker[]} wire
   * @returns {Change}
   */
  #speak(wire) {
    for (const { member } of this.speakers) {
      member.speaking = false;
      member.level = 127;
    }
    this.speakers = [];
    for (const { identity, level } of wire) {
      const member = this.members.get(identity);
      if (!member) continue;
      member.speaking = true;
      member.level = level;
      this.speakers.push({ member, level });
    }
    return { type: "speakers", speakers: this.speakers };
  }

  /**
   * @param {string} identity
   * @param {Quality} quality
   * @returns {Change[]}
   */
  #quality(identity, quality) {
    const member = this.members.get(identity);
    if (!member) return [];
    member.quality = quality;
    return [{ type: "quality", member, quality }];
  }
}
