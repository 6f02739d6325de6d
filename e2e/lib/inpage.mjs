// What runs inside the browsers: a WHIP and WHEP client as plain as can be, written apart from the page's own so that a
// mistake in one does not hide in the other. `installHelpers` is sent to the page as text: it may use nothing from here.

export function installHelpers() {
  const connections = new Map();

  function only(kind, codec) {
    const capabilities = RTCRtpSender.getCapabilities(kind).codecs;
    const wanted = capabilities.filter((entry) => entry.mimeType.toLowerCase() === `${kind}/${codec}`.toLowerCase());
    if (wanted.length === 0) throw new Error(`this browser does not send ${codec}`);
    return [...wanted, ...capabilities.filter((entry) => /\/(rtx|red|ulpfec)$/i.test(entry.mimeType))];
  }

  async function exchange(pc, endpoint, token) {
    await pc.setLocalDescription(await pc.createOffer());
    const headers = { "Content-Type": "application/sdp" };
    if (token) headers.Authorization = `Bearer ${token}`;
    const response = await fetch(endpoint, { method: "POST", headers, body: pc.localDescription.sdp });
    const text = await response.text();
    if (response.status !== 201) throw new Error(`POST ${endpoint}: ${response.status} ${text}`);
    await pc.setRemoteDescription({ type: "answer", sdp: text });
    return { url: new URL(response.headers.get("Location"), response.url).href, etag: response.headers.get("ETag"), headers };
  }

  function follow(name, pc, more) {
    const entry = { pc, states: [], ...more };
    connections.set(name, entry);
    const note = () => entry.states.push([Math.round(performance.now()), pc.connectionState]);
    pc.addEventListener("connectionstatechange", note);
    return entry;
  }

  async function publish({ room, participant, codec = "VP8", simulcast = false, width = 640, height = 360, audio = true, token }) {
    const stream = await navigator.mediaDevices.getUserMedia({ audio, video: { width, height, frameRate: 30 } });
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const entry = follow(participant, pc, { stream });
    const [sound] = stream.getAudioTracks();
    if (sound) pc.addTransceiver(sound, { direction: "sendonly", streams: [stream] });
    const sendEncodings = simulcast
      ? [
          { rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
          { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
          { rid: "f", maxBitrate: 1_500_000 },
        ]
      : [{ maxBitrate: 1_000_000 }];
    const video = pc.addTransceiver(stream.getVideoTracks()[0], { direction: "sendonly", streams: [stream], sendEncodings });
    video.setCodecPreferences(only("video", codec));
    entry.sender = video.sender;
    Object.assign(entry, await exchange(pc, `/whip/${room}?participant=${participant}`, token));
  }

  async function watch({ room, participant, name = `watch ${participant}`, token }) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const video = document.createElement("video");
    video.autoplay = true;
    video.playsInline = true;
    video.width = 320;
    document.body.append(video);
    const stream = new MediaStream();
    const entry = follow(name, pc, { video, began: performance.now(), firstFrameMs: null });
    pc.addEventListener("track", ({ track }) => {
      stream.addTrack(track);
      // totalAudioEnergy stays 0 unless the sound is attached to an element.
      if (video.srcObject !== stream) video.srcObject = stream;
      video.play().catch((error) => (entry.playError = String(error)));
    });
    video.requestVideoFrameCallback?.(() => (entry.firstFrameMs = performance.now() - entry.began));
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
    Object.assign(entry, await exchange(pc, `/whep/${room}/${participant}`, token));
    entry.answeredMs = performance.now() - entry.began;
  }

  /** Waits for the first decoded frame by the receiver's own count, which does not depend on painting. */
  async function firstFrame(name, limitMs = 10_000) {
    const entry = connections.get(name);
    const receiver = entry.pc.getReceivers().find(({ track }) => track.kind === "video");
    while (performance.now() - entry.began < limitMs) {
      for (const report of (await receiver.getStats()).values()) {
        if (report.type === "inbound-rtp" && report.framesDecoded > 0) return { decodedMs: performance.now() - entry.began, paintedMs: entry.firstFrameMs, answeredMs: entry.answeredMs };
      }
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    throw new Error(`no frame within ${limitMs} ms; states ${JSON.stringify(entry.states)}`);
  }

  async function stats(name) {
    const entry = connections.get(name);
    const report = await entry.pc.getStats();
    const all = [...report.values()];
    const codec = (one) => report.get(one.codecId)?.mimeType.split("/")[1];
    const inbound = (kind) => all.find((one) => one.type === "inbound-rtp" && one.kind === kind && (one.packetsReceived ?? 0) > 0);
    const video = inbound("video");
    const audio = inbound("audio");
    const dtls = all.find((one) => one.type === "transport");
    return {
      at: performance.now(),
      state: entry.pc.connectionState,
      srtp: dtls?.srtpCipher ?? null,
      video: video && {
        codec: codec(video),
        packets: video.packetsReceived,
        lost: video.packetsLost,
        framesDecoded: video.framesDecoded,
        framesDropped: video.framesDropped ?? 0,
        keyFrames: video.keyFramesDecoded ?? null,
        freezes: video.freezeCount ?? null,
        freezeSeconds: video.totalFreezesDuration ?? null,
        width: video.frameWidth,
        height: video.frameHeight,
        jitterBufferDelay: video.jitterBufferDelay,
        emitted: video.jitterBufferEmittedCount,
        nacks: video.nackCount,
        plis: video.pliCount,
        retransmitted: video.retransmittedPacketsReceived ?? null,
      },
      audio: audio && {
        codec: codec(audio),
        packets: audio.packetsReceived,
        lost: audio.packetsLost,
        energy: audio.totalAudioEnergy,
        concealed: audio.concealedSamples,
        samples: audio.totalSamplesReceived,
        jitterBufferDelay: audio.jitterBufferDelay,
        emitted: audio.jitterBufferEmittedCount,
      },
      sent: all
        .filter((one) => one.type === "outbound-rtp")
        .map((one) => ({
          kind: one.kind,
          rid: one.rid ?? null,
          codec: codec(one),
          packets: one.packetsSent,
          frames: one.framesEncoded,
          keyFrames: one.keyFramesEncoded ?? null,
          width: one.frameWidth,
          height: one.frameHeight,
          nacks: one.nackCount,
          plis: one.pliCount,
          retransmitted: one.retransmittedPacketsSent,
        })),
    };
  }

  /** The picture in small: mean brightness, spread, and the pixels to compare with later ones. */
  function pixels(name) {
    const { video } = connections.get(name);
    const canvas = document.createElement("canvas");
    canvas.width = 32;
    canvas.height = 18;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, 0, 32, 18);
    const data = [...context.getImageData(0, 0, 32, 18).data].filter((_, at) => at % 4 !== 3);
    const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
    const spread = Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length);
    return { mean, spread, data, width: video.videoWidth, height: video.videoHeight };
  }

  /** Camera off as the page does it: no track, no packets. */
  async function cameraOff(name) {
    const entry = connections.get(name);
    for (const track of entry.stream.getVideoTracks()) {
      entry.stream.removeTrack(track);
      track.stop();
    }
    await entry.sender.replaceTrack(null);
  }

  async function cameraOn(name, { width = 640, height = 360 } = {}) {
    const entry = connections.get(name);
    const [track] = (await navigator.mediaDevices.getUserMedia({ video: { width, height, frameRate: 30 } })).getVideoTracks();
    entry.stream.addTrack(track);
    await entry.sender.replaceTrack(track);
  }

  /** ICE restart by PATCH (RFC 9725 section 4.3.3). */
  async function restart(name) {
    const entry = connections.get(name);
    const { pc } = entry;
    const before = pc.remoteDescription.sdp;
    await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
    const value = (text, key) => text.split(/\r?\n/).find((line) => line.startsWith(`a=${key}:`))?.slice(key.length + 3);
    const offer = pc.localDescription.sdp;
    const media = offer.split(/\r?\n/).find((line) => line.startsWith("m="));
    const body = [media, `a=mid:${value(offer, "mid")}`, `a=ice-ufrag:${value(offer, "ice-ufrag")}`, `a=ice-pwd:${value(offer, "ice-pwd")}`, ""].join("\r\n");
    const headers = { ...entry.headers, "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" };
    const response = await fetch(entry.url, { method: "PATCH", headers, body });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`PATCH: ${response.status} ${text}`);
    const fresh = before
      .replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${value(text, "ice-ufrag")}`)
      .replace(/a=ice-pwd:.*/g, `a=ice-pwd:${value(text, "ice-pwd")}`);
    await pc.setRemoteDescription({ type: "answer", sdp: fresh });
    return { etag: response.headers.get("ETag"), previous: entry.etag, contentType: response.headers.get("Content-Type"), ufrag: value(text, "ice-ufrag"), before: value(before, "ice-ufrag") };
  }

  async function bye(name) {
    const entry = connections.get(name);
    if (!entry) return null;
    connections.delete(name);
    const response = await fetch(entry.url, { method: "DELETE", headers: entry.headers }).catch((error) => ({ status: String(error) }));
    entry.pc.close();
    entry.video?.remove();
    for (const track of entry.stream?.getTracks() ?? []) track.stop();
    return response.status;
  }

  function states(name) {
    const { pc, states: seen } = connections.get(name);
    return { now: pc.connectionState, dtls: (pc.getTransceivers()[0].receiver.transport ?? pc.getTransceivers()[0].sender.transport)?.state ?? null, seen };
  }

  window.e2e = { publish, watch, firstFrame, stats, pixels, cameraOff, cameraOn, restart, bye, states };
}
