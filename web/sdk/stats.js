// Figures of a room out of the browser's statistics. Rates are those since the last time that one asked.

/** @import {Kind, Source} from "./types.js" */
/** @import {Slot} from "./slots.js" */
/** @import {Publication} from "./publications.js" */

/**
 * What comes in through a slot.
 * @typedef {object} SlotStats
 * @property {string} mid
 * @property {Kind} kind
 * @property {string | null} member identity
 * @property {string | null} track
 * @property {string | null} codec
 * @property {number | null} bitrate bit/s
 * @property {number} packets
 * @property {number} lost packets
 * @property {number | null} loss share of the packets, 0 to 1
 * @property {number | null} jitterMs
 * @property {number | null} delayMs that the jitter buffer adds
 * @property {number | null} fps
 * @property {number | null} width
 * @property {number | null} height
 * @property {number | null} framesDecoded
 * @property {number | null} framesDropped
 * @property {number | null} keyFramesDecoded
 * @property {number | null} freezes
 * @property {number | null} freezeSeconds
 * @property {number | null} concealed share of the sound that was made up, 0 to 1
 * @property {number | null} audioEnergy
 */

/**
 * One encoding of what goes out.
 * @typedef {object} LayerStats
 * @property {string} rid "" without simulcast
 * @property {boolean} active
 * @property {number | null} bitrate bit/s
 * @property {number} packets
 * @property {number | null} fps
 * @property {number | null} width
 * @property {number | null} height
 * @property {number | null} framesEncoded
 * @property {string | null} limitedBy "cpu", "bandwidth", or null
 * @property {number | null} loss as the node sees it, 0 to 1
 */

/** @typedef {{track: Publication, source: Source, kind: Kind, codec: string | null, layers: LayerStats[]}} PublicationStats */

/**
 * @typedef {object} RoomStats
 * @property {number} at in the page's clock, ms
 * @property {number | null} rttMs
 * @property {number | null} availableOutgoingBitrate bit/s, by the browser's estimate
 * @property {number | null} sendBitrate bit/s, all together
 * @property {number | null} receiveBitrate bit/s, all together
 * @property {string | null} protocol "udp" or "tcp"
 * @property {SlotStats[]} slots
 * @property {PublicationStats[]} publications
 */

export class Meter {
  /** Earlier counts by name. @type {Map<string, {at: number, value: number}>} */
  #before = new Map();
  /** @type {Map<string, {at: number, value: number}>} */
  #now = new Map();

  /**
   * Growth a second of a count since the last look.
   * @param {string} name
   * @param {number | undefined} value
   * @param {number} at in ms
   */
  #rate(name, value, at) {
    if (value === undefined) return null;
    this.#now.set(name, { at, value });
    const before = this.#before.get(name);
    return before && at > before.at && value >= before.value ? ((value - before.value) * 1000) / (at - before.at) : null;
  }

  /**
   * Growth of one count as a share of another one.
   * @param {string} name
   * @param {number | undefined} part
   * @param {number | undefined} whole
   */
  #share(name, part, whole) {
    if (part === undefined || whole === undefined) return null;
    const [a, b] = [`${name} part`, `${name} whole`];
    this.#now.set(a, { at: 0, value: part }).set(b, { at: 0, value: whole });
    const grown = whole - (this.#before.get(b)?.value ?? 0);
    return grown > 0 ? Math.min(1, Math.max(0, (part - (this.#before.get(a)?.value ?? 0)) / grown)) : 0;
  }

  /**
   * Mean in milliseconds of a sum of seconds over a count, both since the last look.
   * @param {string} name
   * @param {number | undefined} seconds
   * @param {number | undefined} count
   */
  #mean(name, seconds, count) {
    if (seconds === undefined || count === undefined) return null;
    const [a, b] = [`${name} sum`, `${name} count`];
    this.#now.set(a, { at: 0, value: seconds }).set(b, { at: 0, value: count });
    const grown = count - (this.#before.get(b)?.value ?? 0);
    return grown > 0 ? ((seconds - (this.#before.get(a)?.value ?? 0)) * 1000) / grown : null;
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {Slot[]} slots
   * @param {Publication[]} publications
   * @returns {Promise<RoomStats>}
   */
  async measure(pc, slots, publications) {
    const report = /** @type {Map<string, any>} */ (/** @type {unknown} */ (await pc.getStats()));
    this.#now = new Map();
    const all = [...report.values()];
    const codecOf = (/** @type {any} */ one) => report.get(one.codecId)?.mimeType?.split("/")[1] ?? null;
    const transport = all.find(({ type }) => type === "transport");
    const pair = report.get(transport?.selectedCandidatePairId) ?? all.find(({ type, nominated, selected, state }) => type === "candidate-pair" && (selected ?? (nominated && state === "succeeded")));
    const at = performance.now();
    const stats = {
      at,
      rttMs: pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
      availableOutgoingBitrate: pair?.availableOutgoingBitrate ?? null,
      sendBitrate: bits(this.#rate("sent", pair?.bytesSent, at)),
      receiveBitrate: bits(this.#rate("received", pair?.bytesReceived, at)),
      protocol: report.get(pair?.localCandidateId)?.protocol ?? null,
      slots: slots.map((slot) => this.#slot(slot, all.find(({ type, mid }) => type === "inbound-rtp" && mid === slot.mid), codecOf)),
      publications: publications.map((publication) => this.#publication(publication, all, report, codecOf)),
    };
    this.#before = this.#now;
    return stats;
  }

  /**
   * @param {Slot} slot
   * @param {any} one the browser's inbound-rtp; undefined before the first packet
   * @param {(one: any) => string | null} codecOf
   * @returns {SlotStats}
   */
  #slot(slot, one = {}, codecOf) {
    const at = one.timestamp;
    return {
      mid: slot.mid,
      kind: slot.kind,
      member: slot.identity,
      track: slot.trackId,
      codec: codecOf(one),
      bitrate: bits(this.#rate(`${slot.mid} bytes`, one.bytesReceived, at)),
      packets: one.packetsReceived ?? 0,
      lost: one.packetsLost ?? 0,
      loss: this.#share(`${slot.mid} loss`, one.packetsLost, one.packetsReceived === undefined ? undefined : one.packetsReceived + one.packetsLost),
      jitterMs: one.jitter === undefined ? null : one.jitter * 1000,
      delayMs: this.#mean(`${slot.mid} delay`, one.jitterBufferDelay, one.jitterBufferEmittedCount),
      fps: this.#rate(`${slot.mid} frames`, one.framesDecoded, at),
      width: one.frameWidth ?? null,
      height: one.frameHeight ?? null,
      framesDecoded: one.framesDecoded ?? null,
      framesDropped: one.framesDropped ?? null,
      keyFramesDecoded: one.keyFramesDecoded ?? null,
      freezes: one.freezeCount ?? null,
      freezeSeconds: one.totalFreezesDuration ?? null,
      concealed: this.#share(`${slot.mid} concealed`, one.concealedSamples, one.totalSamplesReceived),
      audioEnergy: one.totalAudioEnergy ?? null,
    };
  }

  /**
   * @param {Publication} publication
   * @param {any[]} all
   * @param {Map<string, any>} report
   * @param {(one: any) => string | null} codecOf
   * @returns {PublicationStats}
   */
  #publication(publication, all, report, codecOf) {
    const mid = publication.transceiver?.mid;
    const outbound = mid ? all.filter((one) => one.type === "outbound-rtp" && one.mid === mid) : [];
    const layers = outbound.map((one) => {
      const name = `${mid} ${one.rid ?? ""}`;
      const remote = report.get(one.remoteId);
      return {
        rid: one.rid ?? "",
        active: one.active ?? true,
        bitrate: bits(this.#rate(`${name} bytes`, one.bytesSent, one.timestamp)),
        packets: one.packetsSent ?? 0,
        fps: this.#rate(`${name} frames`, one.framesEncoded, one.timestamp),
        width: one.frameWidth ?? null,
        height: one.frameHeight ?? null,
        framesEncoded: one.framesEncoded ?? null,
        limitedBy: ["cpu", "bandwidth"].includes(one.qualityLimitationReason) ? one.qualityLimitationReason : null,
        loss: remote?.fractionLost ?? null,
      };
    });
    return { track: publication, source: publication.source, kind: publication.kind, codec: codecOf(outbound[0] ?? {}), layers };
  }
}

/** @param {number | null} bytes */
function bits(bytes) {
  return bytes === null ? null : bytes * 8;
}
