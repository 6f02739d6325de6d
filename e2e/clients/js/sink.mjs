// What the viewers in JavaScript make of the RTP that they receive. They do not decode: a frame counts when all its packets are
// there, from the one that begins it to the one with the marker.

import { began } from "./session.mjs";

/** Whether a payload begins a frame, and whether that is a key frame. */
const readers = {
  VP8(payload) {
    let at = 1;
    if (payload[0] & 0x80) {
      const extension = payload[1];
      at = 2;
      if (extension & 0x80) at += payload[at] & 0x80 ? 2 : 1;
      if (extension & 0x40) at += 1;
      if (extension & 0x30) at += 1;
    }
    // S and a partition index of 0 (RFC 7741 section 4.2); P = 0 in the payload is a key frame (section 4.3).
    const begins = (payload[0] & 0x17) === 0x10;
    return { begins, key: begins && (payload[at] & 1) === 0 };
  },
  H264(payload) {
    const type = payload[0] & 0x1f;
    const types = [];
    if (type === 24) {
      for (let at = 1; at + 2 < payload.length; at += 2 + payload.readUInt16BE(at)) types.push(payload[at + 2] & 0x1f);
    } else if (type === 28) {
      if (payload[1] & 0x80) types.push(payload[1] & 0x1f);
    } else {
      types.push(type);
    }
    return { begins: types.length > 0, key: types.includes(5) };
  },
};

/** Counts the packets and frames of one section. `codec`: of the payload type of a packet. */
export class Sink {
  packets = 0;
  gaps = 0;
  frames = 0;
  keyFrames = 0;
  firstFrameMs = null;
  ssrc = null;
  codec = null;
  #expected = null;
  #whole = false;
  #key = false;
  #timestamp = null;

  constructor(codecOf) {
    this.codecOf = codecOf;
  }

  /** `packet`: the whole RTP packet, decrypted. */
  take(packet) {
    const sequence = packet.readUInt16BE(2);
    this.ssrc = packet.readUInt32BE(8);
    this.packets += 1;
    const gap = this.#expected !== null && sequence !== this.#expected;
    this.#expected = (sequence + 1) & 0xffff;
    if (gap) {
      this.gaps += 1;
      this.#whole = false;
    }
    const codec = this.codecOf(packet[1] & 0x7f);
    const read = readers[codec];
    if (!read) return;
    this.codec = codec;
    const timestamp = packet.readUInt32BE(4);
    const { begins, key } = read(payloadOf(packet));
    if (timestamp !== this.#timestamp) {
      this.#timestamp = timestamp;
      this.#whole = begins;
      this.#key = false;
    }
    this.#key ||= key;
    if (packet[1] & 0x80 && this.#whole) this.#frame();
  }

  #frame() {
    this.frames += 1;
    this.#whole = false;
    if (this.#key) this.keyFrames += 1;
    // A picture is there from the first key frame on.
    if (this.#key) this.firstFrameMs ??= Math.round(performance.now() - began);
  }
}

function payloadOf(packet) {
  let at = 12 + 4 * (packet[0] & 0x0f);
  if (packet[0] & 0x10) at += 4 + 4 * packet.readUInt16BE(at + 2);
  const padding = packet[0] & 0x20 ? packet[packet.length - 1] : 0;
  return packet.subarray(at, packet.length - padding);
}

/** The codec of each payload type of a description: `97` to `VP8`. */
export function codecs(sdp) {
  const names = new Map([...sdp.matchAll(/^a=rtpmap:(\d+) ([^/\s]+)\//gm)].map(([, type, name]) => [Number(type), name.toUpperCase()]));
  return (payloadType) => names.get(payloadType) ?? null;
}
