// Encryption of encoded frames, so that the node forwards what it cannot read. All members know a passphrase; the key of a room
// is derived from it, and from that a key for each sender.
//
// A frame becomes: clear bytes | ciphertext and tag | sender's number (8 bytes) | counter (4 bytes) | version (1 byte).
// The clear bytes are those that packetizers and the node look at: of VP8 the frame header with the key-frame bit and, in key
// frames, the size (RFC 6386 section 9.1); of Opus the TOC byte (RFC 6716 section 3.1). They are authenticated, as is the trailer.
//
// The nonce of AES-GCM must never come twice with a key. Two members share a passphrase and know nothing of each other's
// counters; therefore each sender draws a number of 64 bits, has a key of its own made from it, and counts its frames.

const VERSION = 1;
const TRAILER = 13;
const TAG = 16;
/** Iterations of PBKDF2: a passphrase is guessed at this price (OWASP's figure for SHA-256). */
const ITERATIONS = 600_000;
/** Keys of senders that are kept; beyond, the oldest is forgotten, and derived again if it is still needed. */
const SENDERS_MAX = 512;

const encoder = new TextEncoder();

/**
 * The key of a room, from which the keys of its senders are derived.
 * @param {string} passphrase
 * @param {string} room the room's id: the same passphrase gives another key in another room
 * @returns {Promise<CryptoKey>}
 */
export async function roomKey(passphrase, room) {
  const secret = await crypto.subtle.importKey("raw", encoder.encode(passphrase.normalize("NFC")), "PBKDF2", false, ["deriveBits"]);
  const salt = encoder.encode(`sfumato room ${room}`);
  const bits = await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", iterations: ITERATIONS, salt }, secret, 256);
  return crypto.subtle.importKey("raw", bits, "HKDF", false, ["deriveKey"]);
}

/**
 * @param {CryptoKey} room
 * @param {Uint8Array<ArrayBuffer>} sender
 */
function senderKey(room, sender) {
  const how = { name: "HKDF", hash: "SHA-256", salt: sender, info: encoder.encode("sfumato frames 1") };
  return crypto.subtle.deriveKey(how, room, { name: "AES-GCM", length: 128 }, false, ["encrypt", "decrypt"]);
}

/**
 * How many bytes of a frame stay clear. Both ends find it in the frame's first byte, which is clear.
 * @param {"audio" | "video"} kind
 * @param {Uint8Array} frame
 */
export function clearBytes(kind, frame) {
  if (kind === "audio") return 1;
  // RFC 6386 section 9.1: the lowest bit of the first byte is 0 in key frames.
  return frame.length > 0 && (frame[0] & 1) === 0 ? 10 : 3;
}

/** Encrypts the frames of one sender. */
export class FrameSealer {
  #sender = crypto.getRandomValues(new Uint8Array(8));
  #counter = 0;
  /** @type {Promise<CryptoKey>} */
  #key;

  /**
   * @param {CryptoKey} room
   * @param {"audio" | "video"} kind
   */
  constructor(room, kind) {
    this.room = room;
    this.kind = kind;
    this.#key = senderKey(room, this.#sender);
  }

  /**
   * @param {Uint8Array} frame
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async seal(frame) {
    if (this.#counter > 0xffffffff) {
      this.#sender = crypto.getRandomValues(new Uint8Array(8));
      this.#counter = 0;
      this.#key = senderKey(this.room, this.#sender);
    }
    const clear = Math.min(clearBytes(this.kind, frame), frame.length);
    const trailer = new Uint8Array(TRAILER);
    trailer.set(this.#sender);
    new DataView(trailer.buffer).setUint32(8, this.#counter);
    trailer[12] = VERSION;
    this.#counter += 1;
    const sealed = await crypto.subtle.encrypt(parameters(frame.subarray(0, clear), trailer), await this.#key, frame.slice(clear));
    const out = new Uint8Array(clear + sealed.byteLength + TRAILER);
    out.set(frame.subarray(0, clear));
    out.set(new Uint8Array(sealed), clear);
    out.set(trailer, clear + sealed.byteLength);
    return out;
  }
}

/** Decrypts the frames of any sender of the room. */
export class FrameOpener {
  /** @type {Map<string, Promise<CryptoKey>>} */
  #keys = new Map();

  /**
   * @param {CryptoKey} room
   * @param {"audio" | "video"} kind
   */
  constructor(room, kind) {
    this.room = room;
    this.kind = kind;
  }

  /**
   * The frame as its sender encoded it; null where it is not encrypted, or by another passphrase, or was changed on the way.
   * @param {Uint8Array} frame
   * @returns {Promise<Uint8Array<ArrayBuffer> | null>}
   */
  async open(frame) {
    const clear = clearBytes(this.kind, frame);
    const end = frame.length - TRAILER;
    if (end < clear + TAG || frame[frame.length - 1] !== VERSION) return null;
    const trailer = frame.slice(end);
    const name = String(new DataView(trailer.buffer).getBigUint64(0));
    let key = this.#keys.get(name);
    if (!key) {
      const oldest = this.#keys.keys().next();
      if (this.#keys.size >= SENDERS_MAX && !oldest.done) this.#keys.delete(oldest.value);
      this.#keys.set(name, (key = senderKey(this.room, trailer.slice(0, 8))));
    }
    try {
      const opened = await crypto.subtle.decrypt(parameters(frame.subarray(0, clear), trailer), await key, frame.slice(clear, end));
      const out = new Uint8Array(clear + opened.byteLength);
      out.set(frame.subarray(0, clear));
      out.set(new Uint8Array(opened), clear);
      return out;
    } catch {
      return null;
    }
  }
}

/**
 * @param {Uint8Array} clear
 * @param {Uint8Array} trailer
 */
function parameters(clear, trailer) {
  const iv = new Uint8Array(12);
  iv.set(trailer.subarray(8, 12), 8);
  const additionalData = new Uint8Array(clear.length + trailer.length);
  additionalData.set(clear);
  additionalData.set(trailer, clear.length);
  return { name: "AES-GCM", iv, additionalData, tagLength: TAG * 8 };
}
