// Client for rooms of the Sfumato media server: join once, see and hear everyone, over one peer connection.
//
//   const room = await join("https://node.example/v1/rooms/demo", token);

import { Encryption } from "./e2ee.js";
import { Http, RoomError } from "./http.js";
import { Room } from "./room.js";

export { RoomError } from "./http.js";
export { Room } from "./room.js";
export { Member, RemoteTrack } from "./state.js";
export { Slot } from "./slots.js";
export { layersFor, Publication } from "./publications.js";

/** @import {Carrier} from "./events.js" */
/** @import {PublishOptions} from "./publications.js" */
/** @import {TokenSource} from "./types.js" */

/** @typedef {{server?: string | URL, room: string}} RoomAddress `server`: by default the one that the page came from */

/**
 * @typedef {object} JoinOptions
 * @property {string} [identity] who one is; by default what the token says, or what the node makes up
 * @property {string} [name] a name for people
 * @property {string} [metadata] text of the application
 * @property {number} [audioSlots] most voices at a time; 4 by default
 * @property {number} [videoSlots] most pictures at a time; 9 by default
 * @property {boolean | string[]} [dataChannels] whether messages go over data channels, or the topics to open channels for at once; true by default
 * @property {(MediaStreamTrack | ({track: MediaStreamTrack} & PublishOptions))[]} [tracks] to be published at once
 * @property {boolean} [autoplay] whether audio slots play by themselves; true by default
 * @property {string} [encryptionKey] passphrase of end-to-end encryption
 * @property {RTCIceServer[]} [iceServers] by default those that the node names
 * @property {Carrier} [events] "websocket" or "sse" where only one way is wanted
 * @property {URL | string} [workerUrl] where e2ee-worker.js is, when not beside this file
 * @property {AbortSignal} [signal] leaves the room, or ends the attempt to join
 */

/**
 * Joins a room. Throws {@link RoomError} when the node refuses or does not answer. Media may still be on its way when this
 * resolves: `room.state` and the event `state` tell.
 *
 * @param {string | URL | RoomAddress} where `https://HOST/v1/rooms/NAME`, or the parts
 * @param {TokenSource} [token] a token, or a function that gives a fresh one whenever it is needed
 * @param {JoinOptions} [options]
 * @returns {Promise<Room>}
 */
export async function join(where, token, options = {}) {
  const { identity, name, metadata, audioSlots = 4, videoSlots = 9, dataChannels = true, tracks = [], autoplay = true } = options;
  const room = new Room({
    endpoint: `${roomUrl(where)}/sessions`,
    http: new Http(token),
    identity,
    name,
    metadata,
    audioSlots,
    videoSlots,
    topics: Array.isArray(dataChannels) ? dataChannels : dataChannels ? ["chat"] : [],
    autoplay,
    iceServers: options.iceServers,
    carrier: options.events ?? "auto",
    workerUrl: options.workerUrl,
  });
  const publishing = tracks.map((one) => {
    if (one instanceof MediaStreamTrack) return { track: one, options: {} };
    const { track, ...rest } = one;
    return { track, options: rest };
  });
  await room.open(publishing, options.encryptionKey ?? null, options.signal);
  return room;
}

/** Whether this browser can encrypt end to end. */
export function supportsEncryption() {
  return Encryption.supported;
}

/** @param {string | URL | RoomAddress} where */
function roomUrl(where) {
  if (typeof where === "string" || where instanceof URL) {
    const url = new URL(where, globalThis.location?.href);
    if (!/\/v1\/rooms\/[^/]+\/?$/.test(url.pathname)) throw new RoomError({ status: 400, title: "Not a room", detail: `${url} is not the address of a room (https://HOST/v1/rooms/NAME)` });
    return `${url.origin}${url.pathname.replace(/\/$/, "")}`;
  }
  const origin = new URL(where.server ?? globalThis.location.origin).origin;
  return `${origin}/v1/rooms/${encodeURIComponent(where.room)}`;
}
