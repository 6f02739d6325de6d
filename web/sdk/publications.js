// What the page sends: tracks of its own, each in a section of the peer connection. A section that is given up is kept for the
// next track of its shape, since sections never go away.

/** @import {Encryption} from "./e2ee.js" */
/** @import {Kind, Source, TrackDescription} from "./types.js" */

/**
 * @typedef {object} PublishOptions
 * @property {Source} [source] by default camera or microphone
 * @property {string} [name] a name for people
 * @property {boolean} [simulcast] several sizes at once, so that everybody gets what fits; by default for cameras
 * @property {RTCRtpEncodingParameters[]} [encodings] instead of those that are chosen by the size of the picture
 * @property {string} [codec] "VP8", "VP9", "AV1", "H264"; by default VP8, which every browser sends and shows
 * @property {boolean} [muted] it begins muted
 */

/**
 * Encodings for a picture of this width: each layer has a quarter of the pixels of the next one.
 * @param {number} width
 * @returns {RTCRtpEncodingParameters[]}
 */
export function layersFor(width) {
  const full = { rid: "f", maxBitrate: width > 1280 ? 3_000_000 : width > 640 ? 1_500_000 : 700_000 };
  const half = { rid: "h", scaleResolutionDownBy: 2, maxBitrate: width > 640 ? 500_000 : 200_000 };
  const quarter = { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 };
  if (width >= 960) return [quarter, half, full];
  if (width >= 480) return [half, full];
  return [full];
}

/**
 * @param {MediaStreamTrack} track
 * @param {Source} source
 * @param {PublishOptions} options
 * @returns {RTCRtpEncodingParameters[]}
 */
function encodingsFor(track, source, { encodings, simulcast }) {
  if (encodings) return encodings;
  if (track.kind === "audio") return [{}];
  if (source === "screen" && !simulcast) return [{ maxBitrate: 2_500_000 }];
  const width = track.getSettings().width ?? 1280;
  if (simulcast === false) return [{ maxBitrate: width > 1280 ? 3_000_000 : 1_500_000 }];
  const layers = layersFor(width);
  return layers.length > 1 ? layers : [{ maxBitrate: layers[0].maxBitrate }];
}

/**
 * What the room does for its publications.
 * @typedef {object} Publisher
 * @property {(publication: Publication, change: {muted?: boolean, name?: string}) => Promise<void>} update tells the node
 * @property {(publication: Publication) => Promise<void>} drop
 */

/** A track that the page sends. The object outlives the session: after a new one the track is sent again. */
export class Publication {
  /** @type {RTCRtpTransceiver | null} */
  transceiver = null;
  /** Muted: it keeps its section, and nothing of it is forwarded. */
  muted = false;
  /** It is not sent, since its source is not allowed at the moment. */
  withheld = false;
  /** An administrator muted it, not the page. */
  mutedByAdmin = false;
  /** For an element that shows it, muted or not. @type {MediaStream | null} */
  preview;
  /** Called when the track ends by itself. */
  onEnded = () => {};
  #publisher;

  /**
   * @param {MediaStreamTrack} track
   * @param {PublishOptions} options
   * @param {Publisher} publisher
   */
  constructor(track, options, publisher) {
    this.track = track;
    /** @type {Kind} */
    this.kind = track.kind === "audio" ? "audio" : "video";
    /** @type {Source} */
    this.source = options.source ?? (this.kind === "audio" ? "microphone" : "camera");
    this.name = options.name ?? "";
    this.codec = options.codec ?? "VP8";
    this.encodings = encodingsFor(track, this.source, options);
    this.muted = options.muted ?? false;
    this.preview = new MediaStream([track]);
    this.#publisher = publisher;
    this.#watch(track);
    if (this.source === "screen" && !track.contentHint) track.contentHint = "detail";
  }

  /** @param {MediaStreamTrack} track */
  #watch(track) {
    track.addEventListener("ended", () => {
      // A camera that is muted may be closed meanwhile; `replaceTrack` brings it back.
      if (this.track === track && !this.muted) this.onEnded();
    });
  }

  /** @returns {TrackDescription | null} */
  get description() {
    const mid = this.transceiver?.mid;
    return mid ? { mid, source: this.source, name: this.name, muted: this.muted } : null;
  }

  /** Sends nothing from now on; the others see that it is muted. The device stays open: stop its track to close it. */
  async mute() {
    this.mutedByAdmin = false;
    await this.#setMuted(true);
  }

  async unmute() {
    this.mutedByAdmin = false;
    await this.#setMuted(false);
  }

  /** @param {boolean} muted */
  async #setMuted(muted) {
    if (this.muted === muted) return;
    this.muted = muted;
    await this.apply();
    await this.#publisher.update(this, { muted });
  }

  /** @param {string} name */
  async rename(name) {
    this.name = name;
    await this.#publisher.update(this, { name });
  }

  /** Lets the sender send the track, or nothing while muted. */
  async apply() {
    if (this.kind === "audio") this.track.enabled = !this.muted;
    // A picture that is muted costs nothing: without a track the encoder stands still. Sound goes on as silence, which costs
    // next to nothing and comes back without a gap.
    await this.transceiver?.sender.replaceTrack(this.muted && this.kind === "video" ? null : this.track);
  }

  /**
   * Sends another track of the same kind instead: another camera, or the camera after it was closed.
   * @param {MediaStreamTrack} track
   */
  async replaceTrack(track) {
    if (track.kind !== this.kind) throw new TypeError(`a publication of ${this.kind} cannot go on with a track of ${track.kind}`);
    this.track = track;
    this.preview = new MediaStream([track]);
    this.#watch(track);
    await this.apply();
  }

  /** Gives the track up; the others see it go. The device stays open: stop the track to close it. */
  unpublish() {
    return this.#publisher.drop(this);
  }
}

/**
 * Gives a publication a section: a free one of the same shape, or a new one.
 * @param {RTCPeerConnection} pc
 * @param {Publication} publication
 * @param {Set<RTCRtpTransceiver>} free sections that were given up
 * @param {Encryption} encryption
 */
export async function offer(pc, publication, free, encryption) {
  const { kind, encodings } = publication;
  const old = [...free].find(({ sender, receiver }) => receiver.track.kind === kind && sameShape(sender.getParameters().encodings, encodings));
  if (old) {
    free.delete(old);
    old.direction = "sendonly";
    publication.transceiver = old;
    const parameters = old.sender.getParameters();
    parameters.encodings.forEach((one, at) => {
      const { scaleResolutionDownBy, maxBitrate, maxFramerate } = encodings[at];
      Object.assign(one, { active: true }, scaleResolutionDownBy && { scaleResolutionDownBy }, maxBitrate && { maxBitrate }, maxFramerate && { maxFramerate });
    });
    await old.sender.setParameters(parameters);
  } else {
    publication.transceiver = pc.addTransceiver(kind, { direction: "sendonly", streams: [new MediaStream()], sendEncodings: encodings });
    encryption.seal(publication.transceiver.sender, kind);
  }
  if (kind === "video") publication.transceiver.setCodecPreferences(preferring(publication.codec));
  await publication.apply();
}

/**
 * @param {RTCRtpEncodingParameters[]} a
 * @param {RTCRtpEncodingParameters[]} b
 */
function sameShape(a, b) {
  // A single encoding has no name in the description, whatever it is called.
  return a.length === b.length && (a.length === 1 || a.every(({ rid }, at) => rid === b[at].rid));
}

/**
 * The codecs that the browser sends, the wanted one first.
 * @param {string} codec
 */
function preferring(codec) {
  const all = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const wanted = all.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec.toLowerCase()}`);
  if (wanted.length === 0) throw new TypeError(`this browser does not send ${codec}`);
  // The node sends a track on with the codecs that it was published with; one codec and its retransmissions is what is meant.
  return [...wanted, ...all.filter(({ mimeType }) => /\/rtx$/i.test(mimeType))];
}
