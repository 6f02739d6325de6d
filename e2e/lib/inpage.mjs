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

  /** The value of the first `a=key:` line of a description. */
  const attribute = (text, key) => text.split(/\r?\n/).find((line) => line.startsWith(`a=${key}:`))?.slice(key.length + 3);

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

  /** Watches everybody in a room through so many sections of each kind; each section has an element of its own. */
  async function watchRoom({ room, name, audio = 1, video = 1, token }) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const entry = follow(name, pc, { elements: new Map(), began: performance.now() });
    pc.addEventListener("track", ({ track, transceiver }) => {
      const element = document.createElement(track.kind);
      element.autoplay = true;
      element.playsInline = true;
      element.width = 320;
      element.srcObject = new MediaStream([track]);
      document.body.append(element);
      entry.elements.set(transceiver.mid, element);
      element.play().catch((error) => (entry.playError = String(error)));
    });
    for (let at = 0; at < audio; at += 1) pc.addTransceiver("audio", { direction: "recvonly" });
    for (let at = 0; at < video; at += 1) pc.addTransceiver("video", { direction: "recvonly" });
    Object.assign(entry, await exchange(pc, `/whep/${room}`, token));
  }

  /** A whole new offer for a live session, by PATCH. Gives what came of it. */
  async function renegotiate(entry) {
    const { pc } = entry;
    const before = pc.remoteDescription.sdp;
    const began = performance.now();
    await pc.setLocalDescription(await pc.createOffer());
    const headers = { ...entry.headers, "Content-Type": "application/sdp", "If-Match": entry.etag };
    const response = await fetch(entry.url, { method: "PATCH", headers, body: pc.localDescription.sdp });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`PATCH ${entry.url}: ${response.status} ${text}`);
    await pc.setRemoteDescription({ type: "answer", sdp: text });
    entry.etag = response.headers.get("ETag");
    return {
      ms: Math.round(performance.now() - began),
      contentType: response.headers.get("Content-Type"),
      iceStays: attribute(text, "ice-ufrag") === attribute(before, "ice-ufrag"),
      sections: pc.getTransceivers().map(({ mid, currentDirection }) => [mid, currentDirection]),
    };
  }

  /** A viewer asks for more sections. */
  function addSections({ name, audio = 0, video = 0 }) {
    const entry = connections.get(name);
    for (let at = 0; at < audio; at += 1) entry.pc.addTransceiver("audio", { direction: "recvonly" });
    for (let at = 0; at < video; at += 1) entry.pc.addTransceiver("video", { direction: "recvonly" });
    return renegotiate(entry);
  }

  /** A publisher adds a second picture beside its camera: a canvas, since a browser without a display has no screen to share. */
  function addScreen({ name, codec = "VP8", width = 320, height = 240 }) {
    const entry = connections.get(name);
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    let drawn = 0;
    const draw = () => {
      context.fillStyle = "rgb(0, 160, 0)";
      context.fillRect(0, 0, width, height);
      context.fillStyle = "white";
      context.fillRect((drawn * 4) % width, 0, width / 8, height);
      drawn += 1;
    };
    draw();
    const timer = setInterval(draw, 40);
    const stream = canvas.captureStream(25);
    const [track] = stream.getVideoTracks();
    const sendEncodings = [{ maxBitrate: 500_000 }];
    const transceiver = entry.pc.addTransceiver(track, { direction: "sendonly", streams: [stream], sendEncodings });
    transceiver.setCodecPreferences(only("video", codec));
    entry.screen = { transceiver, track, timer };
    return renegotiate(entry);
  }

  /** Pauses the second picture (`inactive`), sends it again (`sendonly`), or gives its section up for good (`stopped`). */
  function turnScreen({ name, direction }) {
    const entry = connections.get(name);
    const { transceiver, track, timer } = entry.screen;
    if (direction === "stopped") {
      transceiver.stop();
      track.stop();
      clearInterval(timer);
    } else {
      transceiver.direction = direction;
    }
    return renegotiate(entry);
  }

  /** What a section has received so far; `null` before its first packet. */
  async function section({ name, mid }) {
    const transceiver = connections.get(name).pc.getTransceivers().find((one) => one.mid === mid);
    if (!transceiver) return null;
    const inbound = [...(await transceiver.receiver.getStats()).values()].find(({ type }) => type === "inbound-rtp");
    if (!inbound?.packetsReceived) return null;
    return {
      at: performance.now(),
      ssrc: inbound.ssrc,
      packets: inbound.packetsReceived,
      lost: inbound.packetsLost,
      frames: inbound.framesDecoded ?? null,
      keyFrames: inbound.keyFramesDecoded ?? null,
      width: inbound.frameWidth ?? null,
      height: inbound.frameHeight ?? null,
      freezes: inbound.freezeCount ?? null,
      freezeSeconds: inbound.totalFreezesDuration ?? null,
      plis: inbound.pliCount ?? null,
      concealed: inbound.concealedSamples ?? null,
      samples: inbound.totalSamplesReceived ?? null,
    };
  }

  /** Looks at sections each so many milliseconds until `endSampling`. */
  function beginSampling({ name, mids, everyMs = 100 }) {
    const samples = Object.fromEntries(mids.map((mid) => [mid, []]));
    const look = async (mid) => {
      const now = await section({ name, mid });
      if (now) samples[mid].push(now);
    };
    const timer = setInterval(() => mids.forEach(look), everyMs);
    connections.get(name).sampling = { samples, timer };
  }

  function endSampling(name) {
    const { samples, timer } = connections.get(name).sampling;
    clearInterval(timer);
    return samples;
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

  /** The picture in small: mean brightness, spread, and the pixels to compare with later ones. `mid`: of `watchRoom`'s. */
  function pixels(name, mid) {
    const entry = connections.get(name);
    const video = mid ? entry.elements.get(mid) : entry.video;
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
    const offer = pc.localDescription.sdp;
    const media = offer.split(/\r?\n/).find((line) => line.startsWith("m="));
    const body = [media, `a=mid:${attribute(offer, "mid")}`, `a=ice-ufrag:${attribute(offer, "ice-ufrag")}`, `a=ice-pwd:${attribute(offer, "ice-pwd")}`, ""].join("\r\n");
    const headers = { ...entry.headers, "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" };
    const response = await fetch(entry.url, { method: "PATCH", headers, body });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`PATCH: ${response.status} ${text}`);
    const fresh = before
      .replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${attribute(text, "ice-ufrag")}`)
      .replace(/a=ice-pwd:.*/g, `a=ice-pwd:${attribute(text, "ice-pwd")}`);
    await pc.setRemoteDescription({ type: "answer", sdp: fresh });
    return { etag: response.headers.get("ETag"), previous: entry.etag, contentType: response.headers.get("Content-Type"), ufrag: attribute(text, "ice-ufrag"), before: attribute(before, "ice-ufrag") };
  }

  async function bye(name) {
    const entry = connections.get(name);
    if (!entry) return null;
    connections.delete(name);
    const response = await fetch(entry.url, { method: "DELETE", headers: entry.headers }).catch((error) => ({ status: String(error) }));
    entry.pc.close();
    entry.video?.remove();
    for (const element of entry.elements?.values() ?? []) element.remove();
    clearInterval(entry.screen?.timer);
    entry.screen?.track.stop();
    for (const track of entry.stream?.getTracks() ?? []) track.stop();
    return response.status;
  }

  function states(name) {
    const { pc, states: seen } = connections.get(name);
    return { now: pc.connectionState, dtls: (pc.getTransceivers()[0].receiver.transport ?? pc.getTransceivers()[0].sender.transport)?.state ?? null, seen };
  }

  window.e2e = {
    publish, watch, watchRoom, firstFrame, stats, pixels, section, beginSampling, endSampling,
    addSections, addScreen, turnScreen, cameraOff, cameraOn, restart, bye, states,
  };
}
