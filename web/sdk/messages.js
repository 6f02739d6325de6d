// Data messages of a room: the channel of the topic where it is open, the events of the session otherwise.

import { fromBase64, MESSAGE_MAX, toBase64, TOPIC_MAX } from "./envelope.js";
import { RoomError } from "./http.js";

/** @import {Session} from "./session.js" */
/** @import {Member} from "./state.js" */
/** @import {Command, Permissions} from "./types.js" */

/**
 * @typedef {object} SendOptions
 * @property {Member | string | (Member | string)[]} [to] the receivers, by member or identity; everybody else when absent
 * @property {boolean} [lossy] not sent again when it is lost, and out of order: for what is soon replaced by the next message
 */

/**
 * A message of another member or of the application.
 * @typedef {object} DataEvent
 * @property {Member | null} from null: the application, or somebody who is hidden or has left
 * @property {string | null} identity of the sender; null: the application
 * @property {string} topic
 * @property {string} [text]
 * @property {Uint8Array} [bytes]
 * @property {boolean} lossy
 */

/**
 * @param {Session} session
 * @param {Permissions} permissions
 * @param {string} topic
 * @param {string | ArrayBuffer | ArrayBufferView} payload
 * @param {SendOptions} options
 */
export async function send(session, permissions, topic, payload, { to, lossy = false }) {
  const content = typeof payload === "string" ? payload : bytesOf(payload);
  const topicBytes = new TextEncoder().encode(topic).length;
  if (topicBytes < 1 || topicBytes > TOPIC_MAX) throw new RangeError(`a topic has 1 to ${TOPIC_MAX} bytes, this one has ${topicBytes}`);
  const size = typeof content === "string" ? new TextEncoder().encode(content).length : content.length;
  if (size > MESSAGE_MAX) throw new RangeError(`a message has at most ${MESSAGE_MAX} bytes, this one has ${size}`);
  if (!permissions.data) throw new RoomError({ status: 403, title: "Not allowed", detail: "This member may not send data messages." });
  const identities = to === undefined ? undefined : (Array.isArray(to) ? to : [to]).map((one) => (typeof one === "string" ? one : one.identity));
  if (session.mediaUp && (await session.data?.send(topic, content, { to: identities, lossy }))) return;
  if (!session.events) throw new RoomError({ status: 0, title: "Not connected", detail: "The room is being joined again." });
  /** @type {Command} */
  const command = { type: "send_data", topic, delivery: lossy ? "lossy" : "reliable" };
  if (identities) command.to = identities;
  if (typeof content === "string") command.text = content;
  else command.base64 = toBase64(content);
  await session.events.command(command);
}

/**
 * A `data` message of the events, as a message of a channel would be.
 * @param {{from: string | null, topic: string, text?: string, base64?: string, delivery: string}} message
 */
export function fromEvents({ from, topic, text, base64, delivery }) {
  const content = base64 === undefined ? { text: text ?? "" } : { bytes: fromBase64(base64) };
  return { from, topic, lossy: delivery === "lossy", ...content };
}

/** @param {ArrayBuffer | ArrayBufferView} payload */
function bytesOf(payload) {
  if (payload instanceof ArrayBuffer) return new Uint8Array(payload);
  return new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
}
