// What runs inside the pages of members: the client of `web/sdk` as an application would use it, with pictures and sounds that a test
// can tell apart. `installMember` is sent to the page as text: it may use nothing from here.

export function installMember() {
  const WIDTH = 160;
  const HEIGHT = 90;
  let room = null;
  let sdk = null;
  let fetched = 0;
  const events = [];
  const messages = [];
  const elements = new Map();
  const sources = new Map();
  const sockets = [];
  const welcomes = [];
  const audio = { context: null };

  /** A picture of one colour with a bar that moves, ten times a second. */
  function picture(colour, { width = WIDTH, height = HEIGHT, fps = 10 } = {}) {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    let drawn = 0;
    const draw = () => {
      context.fillStyle = colour;
      context.fillRect(0, 0, width, height);
      context.fillStyle = "rgba(255, 255, 255, 0.5)";
      context.fillRect((drawn * 8) % width, 0, width / 16, height);
      drawn += 1;
    };
    draw();
    const timer = setInterval(draw, 1000 / fps);
    const [track] = canvas.captureStream(fps).getVideoTracks();
    return { track, end: () => (clearInterval(timer), track.stop()) };
  }

  /** A tone, silent until `speak`. */
  async function tone(frequency) {
    audio.context ??= new AudioContext();
    await Promise.race([audio.context.resume(), new Promise((resolve) => setTimeout(resolve, 1_000))]);
    if (audio.context.state !== "running") {
      // Firefox lets no audio context run where there is no loudspeaker. Its fake microphone is a tone as well.
      const [track] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks();
      return { track, loud: (gain) => (track.enabled = gain > 0), end: () => track.stop() };
    }
    const oscillator = new OscillatorNode(audio.context, { frequency });
    const gain = new GainNode(audio.context, { gain: 0 });
    const destination = audio.context.createMediaStreamDestination();
    oscillator.connect(gain).connect(destination);
    oscillator.start();
    return { track: destination.stream.getAudioTracks()[0], loud: (value) => (gain.gain.value = value), end: () => oscillator.stop() };
  }

  /** Joins with a camera of this colour and a microphone of this pitch. `tokens`: one after the other, whenever one is asked for. */
  async function join({ url, token = null, tokens = null, colour = null, frequency = null, options = {}, camera = {} }) {
    sdk ??= await import("/sdk/index.js");
    const tracks = [];
    if (colour) {
      sources.set("camera", picture(colour, camera));
      tracks.push({ track: sources.get("camera").track, source: "camera", simulcast: false });
    }
    if (frequency) {
      sources.set("microphone", await tone(frequency));
      tracks.push({ track: sources.get("microphone").track, source: "microphone" });
    }
    const began = performance.now();
    const fresh = async () => {
      fetched += 1;
      return tokens[Math.min(fetched, tokens.length) - 1];
    };
    fetched = 0;
    room = await sdk.join(url, tokens ? fresh : token, { ...options, tracks });
    const ms = Math.round(performance.now() - began);
    if (frequency) speak(0);
    for (const type of ["state", "closed", "muted", "permissions", "memberleft", "unpublished", "encryption", "tokenexpiring", "speakers", "quality"]) {
      room.on(type, (detail) => events.push({ at: Math.round(performance.now()), type, ...flat(detail) }));
    }
    room.on("member", ({ member, joined }) => joined && events.push({ at: Math.round(performance.now()), type: "joined", member: member.identity }));
    room.on("data", ({ identity, topic, text, bytes, lossy }) => messages.push({ identity, topic, lossy, ...(bytes ? { bytes: [...bytes] } : { text }) }));
    return { identity: room.me.identity, began, ms };
  }

  /** Joins, and gives how long it took until `join` was done, and until a frame of somebody was decoded. */
  async function joinTimed(how) {
    const { ms, began } = await join(how);
    const end = began + 15_000;
    while (performance.now() < end) {
      for (const { mid, kind } of room.slots) {
        if (kind === "video" && (await decoded(mid))?.frames > 0) return { joinedMs: ms, firstFrameMs: Math.round(performance.now() - began) };
      }
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    throw new Error("no frame within 15 s");
  }

  /** A detail of an event without its objects. */
  function flat(detail) {
    return Object.fromEntries(Object.entries(detail).map(([key, value]) => [key, value?.identity ?? value?.source ?? (Array.isArray(value) ? value.map(({ member }) => member?.identity) : value)]));
  }

  function speak(loudness) {
    sources.get("microphone").loud(loudness);
  }

  /** The room as this member sees it. */
  function view() {
    return {
      state: room.state,
      trouble: room.trouble,
      eventsBy: room.eventsBy,
      session: room.sessionUrl,
      members: [...room.members.values()].map(({ identity, name, presence, speaking, level, quality, tracks }) => ({
        identity, name, presence, speaking, level, quality,
        tracks: [...tracks.values()].map(({ id, source, muted, active, name }) => ({ id, source, muted, active, name })),
      })),
      speakers: room.speakers.map(({ member }) => member.identity),
      slots: room.slots.map(({ mid, kind, state, identity, trackId, track }) => ({ mid, kind, state, member: identity, track: trackId, source: track?.source ?? null })),
      permissions: room.permissions,
    };
  }

  /** Shows a member in an element, as a page would. */
  function show(identity, source) {
    const key = `${identity} ${source ?? ""}`;
    if (elements.has(key)) return;
    const video = document.createElement("video");
    video.width = 160;
    document.body.append(video);
    elements.set(key, room.attach(room.members.get(identity), video, { source }));
  }

  /** Mean colour of what is shown of a member; null where nothing is. */
  function colourOf(identity, source) {
    const video = elements.get(`${identity} ${source ?? ""}`);
    if (!video?.videoWidth) return null;
    const canvas = document.createElement("canvas");
    canvas.width = 8;
    canvas.height = 8;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(video, 0, 0, 8, 8);
    const { data } = context.getImageData(0, 0, 8, 8);
    const mean = [0, 1, 2].map((channel) => {
      let sum = 0;
      for (let at = channel; at < data.length; at += 4) sum += data[at];
      return Math.round(sum / 64);
    });
    return mean;
  }

  async function publish(source, { colour = null, frequency = null, ...options } = {}) {
    const made = colour ? picture(colour, options) : await tone(frequency);
    sources.set(source, made);
    const publication = await room.publish(made.track, { source, simulcast: false, ...options });
    return publication.transceiver.mid;
  }

  const publicationOf = (source) => room.publications.find((one) => one.source === source);

  async function unpublish(source) {
    await publicationOf(source).unpublish();
    sources.get(source)?.end();
  }

  const mute = (source) => publicationOf(source).mute();
  const unmute = async (source) => {
    await publicationOf(source).unmute();
    if (source === "microphone") speak(0);
  };
  const muted = (source) => publicationOf(source).muted;

  async function stats() {
    const { slots, publications, ...rest } = await room.stats();
    return { ...rest, slots, publications: publications.map(({ track: _, ...one }) => one) };
  }

  const send = (topic, payload, options) => room.send(topic, typeof payload === "string" ? payload : Uint8Array.from(payload), options);
  const subscribe = (policy, options) => room.subscribe(policy, options);
  const encrypt = (passphrase) => room.setEncryptionKey(passphrase);
  const update = (change) => room.update(change);
  const took = () => messages.splice(0);
  const saw = () => [...events];

  /** An ICE restart, and how long until the connection holds again. */
  async function restart() {
    const { pc, before } = { pc: room.peerConnection, before: room.peerConnection.localDescription.sdp };
    const ufrag = (sdp) => /a=ice-ufrag:(\S+)/.exec(sdp)[1];
    room.reconnect();
    const end = performance.now() + 10_000;
    while (performance.now() < end) {
      if (ufrag(pc.localDescription.sdp) !== ufrag(before) && pc.signalingState === "stable") return { changed: true, same: pc === room.peerConnection, state: pc.connectionState };
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return { changed: false };
  }

  /** Lets `cutEvents` and `resumptions` know the sockets that are made from now on. */
  function watchSockets() {
    const Original = window.WebSocket;
    window.WebSocket = class extends Original {
      constructor(url) {
        super(url);
        sockets.push(this);
        this.addEventListener("message", ({ data }) => {
          const { type, resumed } = JSON.parse(data);
          if (type === "welcome") welcomes.push(resumed);
        });
      }
    };
  }

  /** Cuts the socket of the events, as a proxy would that forgets it. */
  function cutEvents() {
    for (const socket of sockets.splice(0)) socket.close();
    welcomes.splice(1);
  }

  const resumptions = () => ({ welcomes: welcomes.length, resumed: welcomes.filter(Boolean).length });

  /** How messages go: over a data channel, or over the events. */
  const dataWay = () => (room.peerConnection.sctp?.state === "connected" ? "channel" : "events");

  /** Plays a slot whatever flows through it, and calls `look` with each frame. Gives how to end that. */
  async function follow(slot, look) {
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, srcObject: new MediaStream([slot.mediaStreamTrack]) });
    document.body.append(video);
    await video.play();
    let over = false;
    const next = (now) => {
      look(now, video);
      if (!over) video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
    return () => {
      over = true;
      video.remove();
    };
  }

  /**
   * Switches a slot between two tracks, and measures from each command to the first frame with the colour of the new track. Gives
   * also when frames came, in this slot and in another one that nobody switches.
   */
  async function switches({ slot: at, control, tracks, count, pauseMs }) {
    const slot = room.slots[at];
    const canvas = new OffscreenCanvas(4, 4);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const near = ([r, g, b], rgb) => Math.abs(r - rgb[0]) + Math.abs(g - rgb[1]) + Math.abs(b - rgb[2]) < 200;
    let waiting = null;
    const [frames, others] = [[], []];
    const ends = [
      await follow(slot, (now, video) => {
        frames.push(Math.round(now));
        context.drawImage(video, 0, 0, 4, 4);
        if (waiting && near(context.getImageData(0, 0, 1, 1).data, waiting.rgb)) waiting.seen(performance.now());
      }),
      await follow(room.slots[control], (now) => others.push(Math.round(now))),
    ];
    const times = [];
    for (let done = 0; done < count; done += 1) {
      const { id, rgb } = tracks[(done + 1) % tracks.length];
      const began = performance.now();
      const shown = new Promise((seen, failed) => {
        waiting = { rgb, seen };
        setTimeout(() => failed(new Error(`switch ${done + 1}: no frame of track ${id} within 10 s`)), 10_000);
      });
      await room.subscribe("manual", [{ slot, track: id }]);
      times.push(Math.round((await shown) - began));
      waiting = null;
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    for (const end of ends) end();
    return { times, frames, others };
  }

  /** Frames that a slot has decoded. */
  async function decoded(mid) {
    const transceiver = room.peerConnection.getTransceivers().find((one) => one.mid === mid);
    const inbound = [...(await transceiver.receiver.getStats()).values()].find(({ type }) => type === "inbound-rtp");
    return inbound ? { frames: inbound.framesDecoded ?? 0, keyFrames: inbound.keyFramesDecoded ?? 0, ssrc: inbound.ssrc, dropped: inbound.framesDropped ?? 0, plis: inbound.pliCount, freezes: inbound.freezeCount ?? null, frozen: inbound.totalFreezesDuration ?? null, lost: inbound.packetsLost } : null;
  }

  async function leave() {
    await room?.leave();
    room = null;
    for (const { end } of sources.values()) end();
    sources.clear();
    for (const element of elements.values()) element.remove();
    elements.clear();
    events.length = messages.length = welcomes.length = 0;
    room = null;
  }

  const context = () => audio.context;
  const tokensFetched = () => fetched;

  window.member = {
    context, tokensFetched,
    join, joinTimed, speak, view, show, colourOf, publish, unpublish, mute, unmute, muted, stats, send, subscribe, encrypt, update, took, saw, restart, cutEvents,
    resumptions, watchSockets, dataWay, switches, decoded, leave,
  };
}
