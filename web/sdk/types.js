// The messages of a room session as the node sends and takes them, as types. `proto/session.schema.json` is their schema.
// Nothing here runs.

/**
 * @typedef {"audio" | "video"} Kind
 * @typedef {"camera" | "microphone" | "screen" | "screen-audio"} Source
 * @typedef {"good" | "fair" | "poor"} Quality
 * @typedef {"connecting" | "connected" | "lost"} Presence
 * @typedef {"reliable" | "lossy"} Delivery
 * @typedef {"empty" | "flowing" | "paused" | "muted" | "no-codec"} SlotState
 */

/**
 * What a member may do.
 * @typedef {object} Permissions
 * @property {Source[]} publish The sources that it may publish.
 * @property {boolean} subscribe It may receive the tracks of others.
 * @property {boolean} data It may send data messages.
 * @property {boolean} update_self It may change its own name and metadata.
 * @property {boolean} hidden The others are not told that it is in the room.
 * @property {boolean} admin It may use the admin API for this room.
 */

/**
 * @typedef {object} RoomInfo
 * @property {string} id
 * @property {string} metadata
 * @property {RoomSettings} settings
 */

/**
 * @typedef {object} RoomSettings
 * @property {number} members_max Most members; 0: only the node's limit applies.
 * @property {number} audible Audio tracks that a member hears at a time.
 * @property {string[]} codecs Codecs that members may publish; empty: all.
 * @property {number} empty_timeout_seconds
 * @property {number} lost_timeout_seconds
 * @property {number | null} lifetime_seconds
 * @property {boolean} newer_wins
 */

/**
 * @typedef {object} WireTrack
 * @property {string} id
 * @property {Kind} kind
 * @property {Source} source
 * @property {string} name
 * @property {boolean} muted
 * @property {boolean} active Media arrives at the node.
 * @property {string[]} codecs
 * @property {string[]} layers Names of the simulcast layers; empty without simulcast.
 */

/**
 * @typedef {object} WireMember
 * @property {string} identity
 * @property {string} name
 * @property {string} metadata
 * @property {"session" | "whip" | "local"} kind
 * @property {Presence} presence
 * @property {WireTrack[]} tracks
 */

/**
 * @typedef {object} WireSlot
 * @property {string} mid
 * @property {Kind} kind
 * @property {string | null} track
 * @property {string | null} member
 * @property {SlotState} state
 */

/**
 * @typedef {object} WireSpeaker
 * @property {string} identity
 * @property {number} level In -dBov (RFC 6464): 0 is the loudest.
 */

/**
 * @typedef {{audio: number, video: number}} SlotsWanted
 */

/**
 * @typedef {object} Snapshot
 * @property {"snapshot"} type
 * @property {number} seq
 * @property {RoomInfo} room
 * @property {string} me
 * @property {Permissions} permissions
 * @property {WireMember[]} members
 * @property {WireSlot[]} slots
 * @property {SlotsWanted} slots_wanted
 * @property {WireSpeaker[]} speakers
 * @property {Record<string, Quality>} quality
 */

/**
 * Messages with a number, which are told again to a client that comes back.
 * @typedef {Snapshot
 *   | {type: "member", seq: number, member: WireMember}
 *   | {type: "member_left", seq: number, identity: string, reason: string}
 *   | {type: "slots", seq: number, slots: WireSlot[]}
 *   | {type: "slots_wanted", seq: number, audio: number, video: number}
 *   | {type: "speakers", seq: number, speakers: WireSpeaker[]}
 *   | {type: "quality", seq: number, identity: string, quality: Quality}
 *   | {type: "room", seq: number, room: RoomInfo}
 *   | {type: "permissions", seq: number, permissions: Permissions}
 *   | {type: "muted", seq: number, track: string, muted: boolean}
 *   | {type: "data", seq: number, from: string | null, topic: string, text?: string, base64?: string, delivery: Delivery}
 *   | {type: "data_lost", seq: number, messages: number}
 *   | {type: "token_expiring", seq: number, seconds: number}
 *   | {type: "closed", seq: number, reason: string, detail?: string}} Numbered
 */

/**
 * @typedef {{type: "welcome", room: string, identity: string, session: string, resumed: boolean, seq: number}} Welcome
 * @typedef {{type: "reply", id: string, ok: boolean, problem?: ProblemDetails}} Reply
 * @typedef {Numbered | Welcome | Reply | {type: "pong"}} Message
 */

/**
 * Problem details (RFC 9457).
 * @typedef {object} ProblemDetails
 * @property {string} [type]
 * @property {string} [title]
 * @property {number} [status]
 * @property {string} [detail]
 */

/**
 * What a slot shall show, as the node takes it.
 * @typedef {object} WireWish
 * @property {string} mid
 * @property {string | null} track
 * @property {number} [width] Size in pixels at which it is shown.
 * @property {number} [height]
 * @property {number} [priority] Of two slots for which the line has not enough, the one with the higher number is served first.
 * @property {boolean} [paused]
 */

/**
 * What a member asks of the node.
 * @typedef {{type: "subscribe", policy: "auto", pinned?: string[]}
 *   | {type: "subscribe", policy: "manual", slots: WireWish[]}
 *   | {type: "update_track", track: string, muted?: boolean, name?: string}
 *   | {type: "update_me", name?: string, metadata?: string}
 *   | {type: "send_data", topic: string, to?: string[], delivery?: Delivery, text?: string, base64?: string}
 *   | {type: "refresh_token", token: string}
 *   | {type: "ping"}
 *   | {type: "leave"}} Command
 */

/**
 * What a sending section is.
 * @typedef {object} TrackDescription
 * @property {string} mid
 * @property {Source} source
 * @property {string} [name]
 * @property {boolean} [muted]
 */

/**
 * A bearer token, or how to get a fresh one.
 * @typedef {string | null | undefined | (() => string | null | Promise<string | null>)} TokenSource
 */

export {};
