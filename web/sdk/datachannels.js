// The data channels of one session: a channel for each topic and way of delivery, with envelopes. Messages for which there is
// no open channel go another way (room.js).

import { ENVELOPE_PROTOCOL, MESSAGE_MAX, open, seal, sizeOf } from "./envelope.js";

/** Topics for which channels of our own are opened; messages of further ones go with the events. */
const CHANNELS_MAX = 32;
/** Bytes that wait in a channel: beyond, lossy messages are dropped, and reliable ones wait. */
const BUFFERED_MAX = 512 * 1024;

/** @typedef {{from: string | null, topic: string, text?: string, bytes?: Uint8Array, lossy: boolean}} DataMessage */

export class DataChannels {
  /** @type {Map<string, RTCDataChannel>} */
  #channels = new Map();

  /**
   * @param {RTCPeerConnection} pc
   * @param {(message: DataMessage) => void} onMessage
   */
  constructor(pc, onMessage) {
    this.pc = pc;
    this.onMessage = onMessage;
    pc.addEventListener("datachannel", ({ channel }) => {
      this.#listen(channel);
      // A channel that the node opened for its topic serves our messages of that topic, too.
      if (channel.protocol === ENVELOPE_PROTOCOL) this.#keep(channel);
    });
  }

  /**
   * Opens a channel for a topic, where there is none.
   * @param {string} topic
   * @param {boolean} lossy
   */
  prepare(topic, lossy) {
    const key = keyOf(topic, lossy);
    if (this.#channels.has(key) || this.#channels.size >= CHANNELS_MAX || this.pc.signalingState === "closed") return;
    const how = lossy ? { ordered: false, maxRetransmits: 0 } : { ordered: true };
    const channel = this.pc.createDataChannel(topic, { ...how, protocol: ENVELOPE_PROTOCOL });
    this.#listen(channel);
    this.#keep(channel);
  }

  /**
   * Sends a message through the channel of its topic. Gives false where there is no open channel, or where the message is too
   * large for one.
   * @param {string} topic
   * @param {string | Uint8Array} payload
   * @param {{to?: string[], lossy: boolean}} options
   */
  async send(topic, payload, { to, lossy }) {
    this.prepare(topic, lossy);
    const channel = this.#channels.get(keyOf(topic, lossy));
    if (channel?.readyState !== "open") return false;
    const message = seal(payload, to);
    if (sizeOf(message) > Math.min(MESSAGE_MAX, this.pc.sctp?.maxMessageSize ?? MESSAGE_MAX)) return false;
    if (channel.bufferedAmount > BUFFERED_MAX) {
      // A lossy message that waits is worth nothing any more when it arrives.
      if (lossy) return true;
      await drained(channel);
      if (/** @type {string} */ (channel.readyState) !== "open") return false;
    }
    if (typeof message === "string") channel.send(message);
    else channel.send(message);
    return true;
  }

  /** @param {RTCDataChannel} channel */
  #keep(channel) {
    const key = keyOf(channel.label, isLossy(channel));
    if (!this.#channels.has(key)) this.#channels.set(key, channel);
    channel.addEventListener("close", () => {
      if (this.#channels.get(key) === channel) this.#channels.delete(key);
    });
  }

  /** @param {RTCDataChannel} channel */
  #listen(channel) {
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = BUFFERED_MAX / 2;
    channel.addEventListener("message", ({ data }) => {
      const lossy = isLossy(channel);
      if (channel.protocol === ENVELOPE_PROTOCOL) {
        const message = open(data);
        if (message) this.onMessage({ topic: channel.label, lossy, ...message });
      } else if (typeof data === "string") {
        this.onMessage({ from: null, topic: channel.label, text: data, lossy });
      } else {
        this.onMessage({ from: null, topic: channel.label, bytes: new Uint8Array(data), lossy });
      }
    });
  }
}

/**
 * @param {string} topic
 * @param {boolean} lossy
 */
function keyOf(topic, lossy) {
  return `${lossy ? "lossy" : "reliable"} ${topic}`;
}

/** @param {RTCDataChannel} channel */
function isLossy(channel) {
  return channel.maxRetransmits !== null || channel.maxPacketLifeTime !== null;
}

/**
 * Until less waits in a channel, or it is closed.
 * @param {RTCDataChannel} channel
 * @returns {Promise<void>}
 */
function drained(channel) {
  return new Promise((resolve) => {
    const done = () => {
      channel.removeEventListener("bufferedamountlow", done);
      channel.removeEventListener("close", done);
      resolve();
    };
    channel.addEventListener("bufferedamountlow", done);
    channel.addEventListener("close", done);
  });
}
