// Data messages in channels of the protocol `sfumato`: an envelope names the sender or the receivers. In text messages it is
// a JSON object with the text in it; in binary messages two bytes (big endian) give the length of a JSON object that
// follows, and the rest is the payload.

/** The `protocol` of data channels with envelopes. */
export const ENVELOPE_PROTOCOL = "sfumato";
/** Largest message in a data channel in bytes, envelope included. */
export const MESSAGE_MAX = 64 * 1024;
/** Longest topic in bytes. */
export const TOPIC_MAX = 128;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * What a channel carries for a message of ours.
 * @param {string | Uint8Array} payload
 * @param {string[]} [to] identities of the receivers; everybody else when absent
 * @returns {string | Uint8Array<ArrayBuffer>}
 */
export function seal(payload, to) {
  const head = to ? { to } : {};
  if (typeof payload === "string") return JSON.stringify({ ...head, text: payload });
  const json = encoder.encode(JSON.stringify(head));
  if (json.length > 0xffff) throw new RangeError(`the names of ${to?.length} receivers take ${json.length} bytes, at most 65535 are possible`);
  const message = new Uint8Array(2 + json.length + payload.length);
  new DataView(message.buffer).setUint16(0, json.length);
  message.set(json, 2);
  message.set(payload, 2 + json.length);
  return message;
}

/**
 * Reads a message of a channel; null where it is none that can be read.
 * @param {string | ArrayBuffer | Uint8Array} message
 * @returns {{from: string | null, text: string} | {from: string | null, bytes: Uint8Array} | null}
 */
export function open(message) {
  try {
    if (typeof message === "string") {
      const { from = null, text } = JSON.parse(message);
      return typeof text === "string" && (from === null || typeof from === "string") ? { from, text } : null;
    }
    const bytes = message instanceof Uint8Array ? message : new Uint8Array(message);
    if (bytes.length < 2) return null;
    const length = (bytes[0] << 8) | bytes[1];
    if (bytes.length < 2 + length) return null;
    const { from = null } = length === 0 ? {} : JSON.parse(decoder.decode(bytes.subarray(2, 2 + length)));
    return from === null || typeof from === "string" ? { from, bytes: bytes.slice(2 + length) } : null;
  } catch {
    return null;
  }
}

/**
 * How many bytes a message takes in a channel.
 * @param {string | Uint8Array} message
 */
export function sizeOf(message) {
  return typeof message === "string" ? encoder.encode(message).length : message.length;
}

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = "";
  // In pieces, since the number of arguments of a call is limited.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}
