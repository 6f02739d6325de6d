// A WHIP publisher and WHEP viewer made of libdatachannel (npm: node-datachannel), the stack that OBS sends WebRTC with. H.264
// and Opus go through the library's own packetizers with sender reports and answers to NACKs, as in OBS; VP8 it does not know,
// so its packets are made here. Nothing is decoded.

import rtc from "node-datachannel";

import { codecs, Sink } from "./sink.mjs";
import { exchange, options, run, States } from "./session.mjs";
import { load, play, Stream } from "./source.mjs";

const wanted = options();
const codec = wanted.codec ?? (wanted.publishing ? "H264" : "VP8,H264");
const states = new States();
const peer = new rtc.PeerConnection("client", { iceServers: [] });
const sent = { video: 0, audio: 0, frames: 0 };
const sinks = {};
const feedback = { plis: 0, reports: 0 };
// A track whose object is collected is taken out of the session.
const tracks = [];
let profile = null;

// The library tells the SRTP profile to its log only.
rtc.initLogger("Debug", (_, message) => {
  profile = /SRTP profile is: (\S+)/.exec(message)?.[1] ?? profile;
});

// Payload types as OBS has them for H.264 and Opus.
const VIDEO = { VP8: 97, H264: 96 };
const AUDIO = 111;
const START_CODE = Buffer.from([0, 0, 0, 1]);

function addVideo(section) {
  for (const one of codec.split(",")) {
    if (one === "H264") section.addH264Codec(VIDEO.H264);
    else if (one === "VP8") section.addVP8Codec(VIDEO.VP8);
    else throw new Error(`libdatachannel's client knows VP8 and H264, not ${one}`);
  }
}

/** A section that sends: `media` is what it consists of, `chain` what its packets go through. */
function sender(media, ssrc, chain) {
  media.addSSRC(ssrc, "client", "client", `client-${media.mid()}`);
  const track = peer.addTrack(media);
  tracks.push(track);
  const [first, ...rest] = chain;
  for (const next of rest) first.addToChain(next);
  track.setMediaHandler(first);
  // Receiver reports have packet type 201, payload-specific feedback 206; format 1 of that is PLI (RFC 4585 section 6.3.1).
  track.onMessage((packet) => {
    for (let at = 0; at + 4 <= packet.length; at += 4 + 4 * packet.readUInt16BE(at + 2)) {
      if (packet[at + 1] === 206 && (packet[at] & 0x1f) === 1) feedback.plis += 1;
      if (packet[at + 1] === 201) feedback.reports += 1;
    }
  });
  return track;
}

function publishVideo(list) {
  const media = new rtc.Video("video", "SendOnly");
  addVideo(media);
  const ssrc = 0x51f00001;
  const config = new rtc.RtpPacketizationConfig(ssrc, "client", VIDEO[codec], 90_000);
  const reports = [new rtc.RtcpSrReporter(config), new rtc.RtcpNackResponder()];
  const own = codec === "VP8";
  const track = sender(media, ssrc, own ? reports : [new rtc.H264RtpPacketizer("LongStartSequence", config), ...reports]);
  const stream = new Stream({ ssrc, payloadType: VIDEO[codec] });
  const give = (payloads, timestamp) => {
    if (!track.isOpen()) return;
    config.timestamp = timestamp;
    sent.frames += 1;
    if (!own) {
      track.sendMessageBinary(Buffer.concat(payloads.flatMap((unit) => [START_CODE, unit])));
      sent.video += 1;
      return;
    }
    payloads.forEach((payload, at) => track.sendMessageBinary(stream.packet(payload, timestamp, at + 1 === payloads.length)));
    sent.video = stream.packets;
  };
  return () => play(list, 30, 90_000, give);
}

function publishAudio(list) {
  const media = new rtc.Audio("audio", "SendOnly");
  media.addOpusCodec(AUDIO);
  const config = new rtc.RtpPacketizationConfig(0x51f00002, "client", AUDIO, 48_000);
  const track = sender(media, 0x51f00002, [new rtc.RtpPacketizer(config), new rtc.RtcpSrReporter(config), new rtc.RtcpNackResponder()]);
  return () =>
    play(list, 50, 48_000, ([packet], timestamp) => {
      if (!track.isOpen()) return;
      config.timestamp = timestamp;
      track.sendMessageBinary(packet);
      sent.audio += 1;
    });
}

function receive(kind, media) {
  if (kind === "video") addVideo(media);
  else media.addOpusCodec(AUDIO);
  const track = peer.addTrack(media);
  tracks.push(track);
  track.setMediaHandler(new rtc.RtcpReceivingSession());
  // RTCP comes the same way; its packet types are those where payload types would be 64 to 95 (RFC 5761 section 4).
  track.onMessage((packet) => {
    const type = packet[1] & 0x7f;
    if (type < 64 || type > 95) sinks[kind]?.take(packet);
  });
}

/** The offer, once all candidates stand in it. */
function offer() {
  return new Promise((resolve) => {
    peer.onGatheringStateChange((state) => state === "complete" && resolve(peer.localDescription().sdp));
    peer.setLocalDescription();
  });
}

async function connect() {
  peer.onStateChange((state) => states.note(state));
  let begin = [];
  if (wanted.publishing) {
    // The library cuts H.264 itself: it gets whole NAL units.
    const { video, audio } = load(wanted.media, codec, { whole: codec === "H264" });
    begin = [publishAudio(audio), publishVideo(video)];
  } else {
    receive("audio", new rtc.Audio("audio", "RecvOnly"));
    receive("video", new rtc.Video("video", "RecvOnly"));
  }
  const answer = await exchange(wanted, await offer());
  for (const kind of ["video", "audio"]) sinks[kind] = new Sink(codecs(answer));
  peer.setRemoteDescription(answer, "answer");
  for (const start of begin) start();
}

/** The certificate is libdatachannel's own: ECDSA on P-256, by its default. */
function look() {
  const { video, audio } = sinks;
  const common = { state: states.now, states: states.list, certificate: "EC", srtp: profile };
  if (wanted.publishing) return { ...common, packets: { video: sent.video, audio: sent.audio }, frames: sent.frames, ...feedback };
  return {
    ...common,
    packets: { video: video?.packets ?? 0, audio: audio?.packets ?? 0 },
    codec: video?.codec ?? null,
    frames: video?.frames ?? 0,
    keyFrames: video?.keyFrames ?? 0,
    gaps: video?.gaps ?? 0,
    firstFrameMs: video?.firstFrameMs ?? null,
    sound: audio?.packets ?? 0,
  };
}

await run(wanted, `libdatachannel ${rtc.getLibraryVersion()}`, connect, look);
