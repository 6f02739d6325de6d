// Publishing: a WHIP session that sends one video and one audio track, the video in three sizes where the codec and the
// browser can.

import { whipUrl } from "./api.js";
import { Session } from "./session.js";

/** Bits per second of the largest picture, by codec, for 720p at 30 frames a second. */
const TOP_BITRATE = { VP8: 1_800_000, H264: 1_800_000, VP9: 1_400_000, AV1: 1_200_000 };

/** The codecs that this browser can send, of those on offer in the page. */
export function sendableCodecs() {
  const known = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
  return Object.keys(TOP_BITRATE).filter((name) => known.some((codec) => codec.mimeType.toUpperCase() === `VIDEO/${name}`));
}

/** The capability entries that keep only one codec, with retransmission and loss repair. */
export function onlyCodec(kind, name, capabilities) {
  const wanted = `${kind}/${name}`.toUpperCase();
  const helpers = /\/(rtx|red|ulpfec|flexfec-03)$/i;
  const chosen = capabilities.filter((codec) => codec.mimeType.toUpperCase() === wanted);
  // Packetization mode 1 first: it is what every receiver of H.264 takes (RFC 7742 section 6.2).
  chosen.sort((a, b) => Number(/packetization-mode=1/.test(b.sdpFmtpLine ?? "")) - Number(/packetization-mode=1/.test(a.sdpFmtpLine ?? "")));
  return [...chosen, ...capabilities.filter((codec) => helpers.test(codec.mimeType))];
}

function threeSizes(codec) {
  const top = TOP_BITRATE[codec];
  const encodings = [
    { rid: "q", scaleResolutionDownBy: 4, maxBitrate: Math.round(top / 12) },
    { rid: "h", scaleResolutionDownBy: 2, maxBitrate: Math.round(top / 3.6) },
    { rid: "f", scaleResolutionDownBy: 1, maxBitrate: top },
  ];
  // Chromium takes several encodings of VP9 and AV1 for layers of one stream unless each says that it is a stream of its own.
  if (codec === "VP9" || codec === "AV1") for (const encoding of encodings) encoding.scalabilityMode = "L1T3";
  return encodings;
}

/** Whether `encodings` survive in this browser as they are; asked of a connection that is thrown away. */
function accepted(encodings) {
  const pc = new RTCPeerConnection();
  try {
    const { sender } = pc.addTransceiver("video", { direction: "sendonly", sendEncodings: encodings });
    const got = sender.getParameters().encodings;
    return got.length === encodings.length && got.every((encoding, at) => encoding.scalabilityMode === encodings[at].scalabilityMode);
  } catch {
    return false;
  } finally {
    pc.close();
  }
}

export class WhipSession extends Session {
  /** `options`: `{codec: "VP8", simulcast: true, video: true}`; `video` stays true while the camera is off for a moment. */
  constructor(api, { room, participant, iceServers, stream, options }) {
    super(api, whipUrl(room, participant), iceServers);
    this.stream = stream;
    this.options = options;
  }

  prepare(pc) {
    const [audio] = this.stream.getAudioTracks();
    const [video] = this.stream.getVideoTracks();
    if (audio) pc.addTransceiver(audio, { direction: "sendonly", streams: [this.stream] });
    if (!this.options.video) return;
    const { codec, simulcast } = this.options;
    let sendEncodings = simulcast ? threeSizes(codec) : null;
    if (!sendEncodings || !accepted(sendEncodings)) sendEncodings = [{ maxBitrate: Math.round(TOP_BITRATE[codec] * 1.4) }];
    const transceiver = pc.addTransceiver(video ?? "video", { direction: "sendonly", streams: [this.stream], sendEncodings });
    this.video = transceiver.sender;
    const capabilities = RTCRtpSender.getCapabilities?.("video")?.codecs ?? [];
    const preferences = onlyCodec("video", codec, capabilities);
    if (preferences.some((entry) => entry.mimeType.toUpperCase() === `VIDEO/${codec}`)) transceiver.setCodecPreferences?.(preferences);
  }

  /** Puts another video track, or none, in the place of the present one; nothing is negotiated. */
  async replaceVideo(track) {
    await this.video?.replaceTrack(track);
  }
}
