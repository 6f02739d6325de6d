// A WHIP publisher and WHEP viewer made of werift, the WebRTC stack in TypeScript. It takes and gives RTP; nothing is decoded.

import { readFileSync } from "node:fs";

import { MediaStreamTrack, RTCPeerConnection, useAbsSendTime, useH264, useOPUS, useSdesMid, useTransportWideCC, useVP8 } from "werift";

import { codecs, Sink } from "./sink.mjs";
import { exchange, options, run, States } from "./session.mjs";
import { load, play, Stream } from "./source.mjs";

// Its package does not let others read its package.json by name.
const { version } = JSON.parse(readFileSync(new URL("../../node_modules/werift/package.json", import.meta.url), "utf8"));
const known = { VP8: useVP8, H264: useH264 };
const wanted = options();
const codec = wanted.codec ?? (wanted.publishing ? "VP8" : "VP8,H264");
const states = new States();
const streams = { video: new Stream({ ssrc: 1, payloadType: 96 }), audio: new Stream({ ssrc: 2, payloadType: 111 }) };
const sinks = {};
const feedback = { plis: 0 };
let frames = 0;

const peer = new RTCPeerConnection({
  iceServers: [],
  bundlePolicy: "max-bundle",
  codecs: { video: codec.split(",").map((one) => known[one]()), audio: [useOPUS()] },
  headerExtensions: { video: [useSdesMid(), useAbsSendTime(), useTransportWideCC()], audio: [useSdesMid()] },
});

/** A section that sends. The stack writes SSRC, payload type and extensions into the packets itself. */
function sender(kind) {
  const track = new MediaStreamTrack({ kind });
  const transceiver = peer.addTransceiver(track, { direction: "sendonly" });
  transceiver.sender.onPictureLossIndication.subscribe(() => (feedback.plis += 1));
  return (payloads, timestamp) => {
    if (peer.connectionState !== "connected") return;
    if (kind === "video") frames += 1;
    payloads.forEach((payload, at) => track.writeRtp(streams[kind].packet(payload, timestamp, kind === "video" && at + 1 === payloads.length)));
  };
}

function receive(kind) {
  const transceiver = peer.addTransceiver(kind, { direction: "recvonly" });
  transceiver.onTrack.subscribe((track) => {
    let asked = kind === "audio";
    track.onReceiveRtp.subscribe((packet) => {
      sinks[kind]?.take(packet.serialize());
      // The stack does not ask for key frames by itself.
      if (!asked) transceiver.receiver.sendRtcpPLI(packet.header.ssrc);
      asked = true;
    });
  });
}

async function connect() {
  peer.connectionStateChange.subscribe((state) => states.note(state));
  const begin = [];
  if (wanted.publishing) {
    const { video, audio } = load(wanted.media, codec);
    const [picture, sound] = [sender("video"), sender("audio")];
    begin.push(() => play(video, 30, 90_000, picture), () => play(audio, 50, 48_000, sound));
  } else {
    receive("video");
    receive("audio");
  }
  await peer.setLocalDescription(await peer.createOffer());
  const answer = await exchange(wanted, peer.localDescription.sdp);
  for (const kind of ["video", "audio"]) sinks[kind] = new Sink(codecs(answer));
  await peer.setRemoteDescription({ type: "answer", sdp: answer });
  for (const start of begin) start();
}

function look() {
  const [transport] = peer.dtlsTransports;
  const { video, audio } = sinks;
  const common = {
    state: states.now,
    states: states.list,
    certificate: { 1: "RSA", 3: "EC" }[transport?.localCertificate?.signatureHash.signature] ?? null,
    srtp: { 1: "AES_128_CM_SHA1_80", 7: "AEAD_AES_128_GCM" }[transport?.dtls?.srtp.srtpProfile] ?? null,
  };
  if (wanted.publishing) return { ...common, packets: { video: streams.video.packets, audio: streams.audio.packets }, frames, ...feedback };
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

await run(wanted, `werift ${version}`, connect, look);
