// What the programs in JavaScript publish: the test card's files, cut into RTP payloads. VP8 from IVF (RFC 7741), H.264 from an
// elementary stream with start codes (RFC 6184), Opus from Ogg (RFC 7845, RFC 7587).

import { readFileSync } from "node:fs";
import path from "node:path";

/** Payload bytes of a packet: with all headers and the SRTP tag a datagram stays under 1,200 bytes. */
const PAYLOAD = 1_100;

/** Frames of an IVF file. */
export function ivfFrames(file) {
  const bytes = readFileSync(file);
  if (bytes.toString("latin1", 0, 4) !== "DKIF") throw new Error(`${file} is no IVF file`);
  const frames = [];
  for (let at = bytes.readUInt16LE(6); at + 12 <= bytes.length; ) {
    const size = bytes.readUInt32LE(at);
    frames.push(bytes.subarray(at + 12, at + 12 + size));
    at += 12 + size;
  }
  return frames;
}

/** The Opus packets of an Ogg file, without the two that hold its head and its tags. */
export function oggPackets(file) {
  const bytes = readFileSync(file);
  const packets = [];
  let begun = [];
  for (let at = 0; at + 27 <= bytes.length; ) {
    if (bytes.toString("latin1", at, at + 4) !== "OggS") throw new Error(`${file}: no page at byte ${at}`);
    const table = bytes.subarray(at + 27, at + 27 + bytes[at + 26]);
    at += 27 + table.length;
    for (const lacing of table) {
      begun.push(bytes.subarray(at, at + lacing));
      at += lacing;
      if (lacing < 255) {
        packets.push(Buffer.concat(begun));
        begun = [];
      }
    }
  }
  return packets.slice(2);
}

/** Access units of an H.264 stream, each a list of NAL units without start codes. Pictures have one slice each. */
export function h264Frames(file) {
  const bytes = readFileSync(file);
  const starts = [];
  for (let at = bytes.indexOf("000001", 0, "hex"); at >= 0; at = bytes.indexOf("000001", at + 3, "hex")) starts.push(at + 3);
  const frames = [];
  let units = [];
  starts.forEach((start, index) => {
    let end = index + 1 < starts.length ? starts[index + 1] - 3 : bytes.length;
    while (end > start && bytes[end - 1] === 0) end -= 1;
    const unit = bytes.subarray(start, end);
    units.push(unit);
    const type = unit[0] & 0x1f;
    if (type === 1 || type === 5) {
      frames.push(units);
      units = [];
    }
  });
  return frames;
}

/** RTP payloads of a VP8 frame: the descriptor's S bit stands at the frame's begin only (RFC 7741 section 4.2). */
export function vp8Payloads(frame) {
  const payloads = [];
  for (let at = 0; at < frame.length; at += PAYLOAD) {
    payloads.push(Buffer.concat([Buffer.from([at === 0 ? 0x10 : 0x00]), frame.subarray(at, at + PAYLOAD)]));
  }
  return payloads;
}

/** RTP payloads of an access unit: single NAL units, and fragments of the long ones (RFC 6184 sections 5.6 and 5.8). */
export function h264Payloads(units) {
  return units.flatMap((unit) => {
    if (unit.length <= PAYLOAD) return [unit];
    const fragments = [];
    for (let at = 1; at < unit.length; at += PAYLOAD) {
      const end = Math.min(at + PAYLOAD, unit.length);
      const header = (unit[0] & 0x1f) | (at === 1 ? 0x80 : 0) | (end === unit.length ? 0x40 : 0);
      fragments.push(Buffer.concat([Buffer.from([(unit[0] & 0xe0) | 28, header]), unit.subarray(at, end)]));
    }
    return fragments;
  });
}

/** Numbers the payloads of one stream and writes the RTP header before them (RFC 3550 section 5.1). */
export class Stream {
  #sequence = Math.floor(Math.random() * 0x8000);
  packets = 0;

  constructor({ ssrc, payloadType }) {
    Object.assign(this, { ssrc, payloadType });
  }

  packet(payload, timestamp, marker) {
    const header = Buffer.alloc(12);
    header[0] = 0x80;
    header[1] = this.payloadType | (marker ? 0x80 : 0);
    header.writeUInt16BE(this.#sequence, 2);
    header.writeUInt32BE(timestamp >>> 0, 4);
    header.writeUInt32BE(this.ssrc, 8);
    this.#sequence = (this.#sequence + 1) & 0xffff;
    this.packets += 1;
    return Buffer.concat([header, payload]);
  }
}

/**
 * The pictures and the sound of a directory, as payloads: `video` thirty times a second, `audio` fifty times. `whole`: NAL units
 * as they are, for a stack that cuts them itself.
 */
export function load(directory, codec, { whole = false } = {}) {
  const pictures = {
    VP8: () => ivfFrames(path.join(directory, "testcard.ivf")).map(vp8Payloads),
    H264: () => h264Frames(path.join(directory, "testcard.h264")).map((units) => (whole ? units : h264Payloads(units))),
  }[codec];
  if (!pictures) throw new Error(`no pictures in ${codec}: VP8 and H264 are there`);
  return { video: pictures(), audio: oggPackets(path.join(directory, "testcard.ogg")).map((packet) => [packet]) };
}

/**
 * Calls `give(payloads, timestamp)` for each picture or packet of sound when its time has come, in a loop, until `stop`.
 * A timer that was late is made up for: the pace is that of the clock.
 */
export function play(list, perSecond, clockRate, give) {
  const began = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - began) / 1000) * perSecond);
    for (; sent <= due; sent += 1) give(list[sent % list.length], Math.round((sent * clockRate) / perSecond));
  }, 5);
  return { stop: () => clearInterval(timer), sent: () => sent };
}
