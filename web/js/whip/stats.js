// Figures of a connection, made of two readings of getStats. Rates are in bits per second, times in milliseconds,
// losses in parts of one; null where the browser does not say.

/** Reads one connection again and again; keeps the last reading to make rates of it. Twice a second at most makes sense. */
export class Meter {
  #before = new Map();

  /** Figures since the last call. */
  async read(pc) {
    const report = await pc.getStats();
    const all = [...report.values()];
    const rate = (entry, key) => this.#rate(entry, key);
    const figures = {
      rttMs: roundTrip(report, all),
      receiving: all.filter((entry) => entry.type === "inbound-rtp").map((entry) => this.#inbound(report, entry, rate)),
      sending: all.filter((entry) => entry.type === "outbound-rtp").map((entry) => this.#outbound(report, all, entry, rate)),
    };
    this.#before = new Map(all.map((entry) => [entry.id, entry]));
    return figures;
  }

  #delta(entry, key) {
    const before = this.#before.get(entry.id);
    return before && key in entry && key in before ? Math.max(0, entry[key] - before[key]) : null;
  }

  #rate(entry, key) {
    const delta = this.#delta(entry, key);
    // The reading's own clock: a timer of the page may come late.
    const seconds = delta === null ? 0 : (entry.timestamp - this.#before.get(entry.id).timestamp) / 1000;
    return seconds <= 0 ? null : delta / seconds;
  }

  #inbound(report, entry, rate) {
    const lost = this.#delta(entry, "packetsLost");
    const received = this.#delta(entry, "packetsReceived");
    const bytes = rate(entry, "bytesReceived");
    const buffered = this.#delta(entry, "jitterBufferDelay");
    const emitted = this.#delta(entry, "jitterBufferEmittedCount");
    return {
      kind: entry.kind,
      codec: codecName(report, entry),
      bitrate: bytes === null ? null : bytes * 8,
      lost: lost === null || received === null || lost + received === 0 ? null : lost / (lost + received),
      width: entry.frameWidth ?? null,
      height: entry.frameHeight ?? null,
      fps: entry.framesPerSecond ?? rate(entry, "framesDecoded"),
      framesDecoded: entry.framesDecoded ?? null,
      freezes: entry.freezeCount ?? null,
      bufferMs: buffered === null || !emitted ? null : (buffered / emitted) * 1000,
    };
  }

  #outbound(report, all, entry, rate) {
    const remote = all.find((other) => other.type === "remote-inbound-rtp" && (other.localId === entry.id || other.ssrc === entry.ssrc));
    const bytes = rate(entry, "bytesSent");
    return {
      kind: entry.kind,
      rid: entry.rid ?? "",
      codec: codecName(report, entry),
      bitrate: bytes === null ? null : bytes * 8,
      lost: remote?.fractionLost ?? null,
      rttMs: typeof remote?.roundTripTime === "number" ? remote.roundTripTime * 1000 : null,
      width: entry.frameWidth ?? null,
      height: entry.frameHeight ?? null,
      fps: entry.framesPerSecond ?? rate(entry, "framesEncoded"),
      active: entry.active !== false && (bytes === null || bytes > 0),
      limitedBy: entry.qualityLimitationReason && entry.qualityLimitationReason !== "none" ? entry.qualityLimitationReason : null,
    };
  }
}

function codecName(report, entry) {
  const mime = report.get(entry.codecId)?.mimeType;
  return mime ? mime.slice(mime.indexOf("/") + 1) : null;
}

function roundTrip(report, all) {
  const transport = all.find((entry) => entry.type === "transport" && entry.selectedCandidatePairId);
  const pair =
    (transport && report.get(transport.selectedCandidatePairId)) ??
    all.find((entry) => entry.type === "candidate-pair" && (entry.selected || (entry.nominated && entry.state === "succeeded")));
  return typeof pair?.currentRoundTripTime === "number" ? pair.currentRoundTripTime * 1000 : null;
}

/** "412 kbit/s", "1.8 Mbit/s" */
export function bitrateText(bitrate) {
  if (bitrate === null) return "–";
  if (bitrate >= 1_000_000) return `${(bitrate / 1_000_000).toFixed(1)} Mbit/s`;
  return `${Math.round(bitrate / 1000)} kbit/s`;
}

/** "0 %", "0.4 %", "12 %" */
export function lossText(lost) {
  if (lost === null) return "–";
  const percent = lost * 100;
  return `${percent === 0 || percent >= 10 ? Math.round(percent) : percent.toFixed(1)} %`;
}

/** "3 ms"; below one millisecond "< 1 ms" */
export function timeText(milliseconds) {
  if (milliseconds === null) return "–";
  return milliseconds < 1 ? "< 1 ms" : `${Math.round(milliseconds)} ms`;
}

/** "640×360 · 30 fps" */
export function pictureText({ width, height, fps }) {
  if (!width || !height) return "–";
  return `${width}×${height}` + (fps === null ? "" : ` · ${Math.round(fps)} fps`);
}
