// The parts of the client that need no browser: what it knows of a room, envelopes, pauses, slots, encrypted frames.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Backoff } from "../../web/sdk/backoff.js";
import { clearBytes, FrameOpener, FrameSealer, roomKey } from "../../web/sdk/e2ee-frames.js";
import { fromBase64, open, seal, sizeOf, toBase64 } from "../../web/sdk/envelope.js";
import { iceServersOf } from "../../web/sdk/peer.js";
import { layersFor } from "../../web/sdk/publications.js";
import { SseParser } from "../../web/sdk/sse.js";
import { RoomState } from "../../web/sdk/state.js";
import { place } from "../../web/sdk/subscription.js";

const track = (id, more = {}) => ({ id, kind: "video", source: "camera", name: "", muted: false, active: true, codecs: ["VP8"], layers: [], ...more });
const member = (identity, tracks = [], more = {}) => ({ identity, name: "", metadata: "", kind: "session", presence: "connected", tracks, ...more });
const slot = (mid, track = null, member = null, state = track ? "flowing" : "empty") => ({ mid, kind: "video", track, member, state });
const snapshot = (more = {}) => ({
  type: "snapshot", seq: 1, room: { id: "r", metadata: "", settings: {} }, me: "ann", permissions: { publish: ["camera"], data: true },
  members: [member("ann"), member("bob", [track("7")])], slots: [slot("0")], slots_wanted: { audio: 1, video: 1 }, speakers: [], quality: { bob: "fair" }, ...more,
});
const types = (changes) => changes.map(({ type }) => type);

describe("what a member knows of its room", () => {
  test("a snapshot tells everything", () => {
    const state = new RoomState();
    const changes = state.apply(snapshot());
    assert.deepEqual([...state.members.keys()], ["ann", "bob"]);
    assert.equal(state.me, state.members.get("ann"));
    assert.ok(state.me.isMe && !state.members.get("bob").isMe);
    assert.equal(state.members.get("bob").quality, "fair");
    assert.equal(state.members.get("bob").track("camera").id, "7");
    assert.deepEqual(changes.filter(({ type }) => type === "member").map(({ member, joined }) => [member.identity, joined]), [["ann", true], ["bob", true]]);
  });

  test("members and tracks stay the same objects while they change", () => {
    const state = new RoomState();
    state.apply(snapshot());
    const bob = state.members.get("bob");
    const camera = bob.tracks.get("7");
    const changes = state.apply({ type: "member", seq: 2, member: member("bob", [track("7", { muted: true }), track("8", { source: "screen" })], { name: "Bob" }) });
    assert.deepEqual(changes, [{ type: "member", member: bob, joined: false }]);
    assert.equal(bob.title, "Bob");
    assert.equal(bob.tracks.get("7"), camera);
    assert.ok(camera.muted);
    assert.equal(bob.track("screen").id, "8");
    state.apply({ type: "member", seq: 3, member: member("bob", [track("8", { source: "screen" })]) });
    assert.equal(bob.tracks.size, 1);
  });

  test("who left is gone, and speaks no more", () => {
    const state = new RoomState();
    state.apply(snapshot());
    const bob = state.members.get("bob");
    state.apply({ type: "speakers", seq: 2, speakers: [{ identity: "bob", level: 20 }, { identity: "nobody", level: 30 }] });
    assert.ok(bob.speaking && bob.level === 20);
    assert.equal(state.speakers.length, 1);
    const changes = state.apply({ type: "member_left", seq: 3, identity: "bob", reason: "left" });
    assert.deepEqual(changes, [{ type: "memberleft", member: bob, reason: "left" }]);
    assert.ok(!bob.speaking);
    assert.deepEqual(state.speakers, []);
    assert.deepEqual(state.apply({ type: "member_left", seq: 4, identity: "bob", reason: "left" }), []);
    assert.deepEqual(state.apply({ type: "quality", seq: 5, identity: "bob", quality: "poor" }), []);
  });

  test("a speaker who falls silent is marked so", () => {
    const state = new RoomState();
    state.apply(snapshot());
    state.apply({ type: "speakers", seq: 2, speakers: [{ identity: "bob", level: 20 }] });
    state.apply({ type: "speakers", seq: 3, speakers: [] });
    assert.deepEqual([state.members.get("bob").speaking, state.members.get("bob").level], [false, 127]);
  });

  test("a second snapshot tells who left and who came meanwhile", () => {
    const state = new RoomState();
    state.apply(snapshot());
    const { me } = state;
    const changes = state.apply(snapshot({ seq: 9, members: [member("ann", [track("3")]), member("eve")] }));
    assert.deepEqual(changes.filter(({ type }) => type === "memberleft").map(({ member }) => member.identity), ["bob"]);
    assert.deepEqual(changes.filter(({ joined }) => joined).map(({ member }) => member.identity), ["eve"]);
    assert.equal(state.me, me);
    assert.ok(me.tracks.has("3"));
  });

  test("with another identity one is somebody else", () => {
    const state = new RoomState();
    state.apply(snapshot());
    state.apply(snapshot({ me: "guest-2", members: [member("guest-2"), member("bob")] }));
    assert.equal(state.me.identity, "guest-2");
    assert.deepEqual([...state.members.values()].map(({ identity, isMe }) => [identity, isMe]), [["bob", false], ["guest-2", true]]);
  });

  test("slots change one by one", () => {
    const state = new RoomState();
    state.apply(snapshot({ slots: [slot("0"), slot("1")] }));
    const changes = state.apply({ type: "slots", seq: 2, slots: [slot("1", "7", "bob")] });
    assert.deepEqual(changes, [{ type: "slots", mids: ["1"] }]);
    assert.equal(state.slots.get("1").track, "7");
    assert.equal(state.slots.get("0").track, null);
    state.forgetSlots();
    assert.equal(state.slots.size, 0);
  });

  test("what is not of the room changes nothing", () => {
    const state = new RoomState();
    for (const message of [{ type: "pong" }, { type: "welcome", seq: 1 }, { type: "data", seq: 2, from: null, topic: "t", text: "x", delivery: "lossy" }, { type: "of-a-later-version", seq: 3 }]) {
      assert.deepEqual(types(state.apply(message)), []);
    }
  });
});

describe("envelopes", () => {
  test("text names the receivers, and the sender", () => {
    assert.deepEqual(JSON.parse(seal("hello", ["bob"])), { to: ["bob"], text: "hello" });
    assert.deepEqual(JSON.parse(seal("hello")), { text: "hello" });
    assert.deepEqual(open('{"from":"ann","text":"hello"}'), { from: "ann", text: "hello" });
    assert.deepEqual(open('{"text":""}'), { from: null, text: "" });
  });

  test("bytes come out as they went in", () => {
    const payload = Uint8Array.from({ length: 3000 }, (_, at) => at & 255);
    const message = seal(payload, ["bob", "éve"]);
    assert.equal((message[0] << 8) | message[1], new TextEncoder().encode('{"to":["bob","éve"]}').length);
    assert.deepEqual(open(message.buffer), { from: null, bytes: payload });
    assert.equal(sizeOf(message), message.length);
    assert.equal(sizeOf("é"), 2);
    assert.deepEqual(open(Uint8Array.of(0, 0, 1, 2)), { from: null, bytes: Uint8Array.of(1, 2) });
  });

  test("what is no envelope is none", () => {
    for (const bad of ["", "x", "[]", "null", '{"text":1}', '{"from":1,"text":"x"}', new Uint8Array(0), Uint8Array.of(0), Uint8Array.of(0, 9, 123), Uint8Array.of(0, 1, 255), Uint8Array.of(0, 4, 110, 117, 108, 108)]) {
      assert.equal(open(bad), null, JSON.stringify(bad));
    }
  });

  test("receivers beyond the length field are refused", () => {
    assert.throws(() => seal(new Uint8Array(1), ["x".repeat(70_000)]), RangeError);
  });

  test("base64 there and back", () => {
    const payload = Uint8Array.from({ length: 20_000 }, (_, at) => (at * 7) & 255);
    assert.deepEqual(fromBase64(toBase64(payload)), payload);
    assert.equal(toBase64(payload), Buffer.from(payload).toString("base64"));
  });
});

describe("pauses between attempts", () => {
  test("they double up to a bound, spread, and begin anew after a success", () => {
    const backoff = new Backoff({ firstMs: 100, longestMs: 1000, random: () => 0.5 });
    assert.deepEqual(Array.from({ length: 6 }, () => backoff.failed()), [100, 200, 400, 800, 1000, 1000]);
    assert.equal(backoff.failed(5000), 5000, "Retry-After is kept");
    backoff.succeeded();
    assert.equal(backoff.failed(), 100);
    const spread = new Backoff({ firstMs: 100, random: () => 1 });
    assert.equal(spread.failed(), 125);
    for (let at = 0; at < 2000; at += 1) assert.ok(Number.isFinite(spread.failed()));
  });
});

describe("which track goes into which slot", () => {
  const slots = [{ mid: "0", track: "a" }, { mid: "1", track: null }, { mid: "2", track: "b" }];

  test("a track that has a slot keeps it", () => {
    assert.deepEqual(place([{ track: "b" }, { track: "a" }], slots), { placed: [{ track: "b", mid: "2" }, { track: "a", mid: "0" }], missing: 0 });
  });

  test("others get empty slots first, and what is wanted no more goes", () => {
    assert.deepEqual(place([{ track: "c", width: 320, height: 180 }], slots).placed, [
      { track: "c", width: 320, height: 180, mid: "1" },
      { mid: "0", track: null },
      { mid: "2", track: null },
    ]);
  });

  test("wishes beyond the slots are counted", () => {
    const { placed, missing } = place([{ track: "c" }, { track: "d" }, { track: "e" }, { track: "f" }], slots);
    assert.equal(missing, 1);
    assert.deepEqual(placed.map(({ mid, track }) => [mid, track]), [["1", "c"], ["0", "d"], ["2", "e"]]);
  });

  test("where slots are named, the others stay as they are", () => {
    assert.deepEqual(place([{ mid: "0", track: "c", paused: true }], slots).placed, [{ track: "c", paused: true, mid: "0" }]);
    assert.deepEqual(place([{ mid: "0", track: "c" }, { track: "a" }], slots).placed, [{ track: "c", mid: "0" }, { track: "a", mid: "1" }]);
  });
});

describe("other small parts", () => {
  test("server-sent events out of pieces", () => {
    const parser = new SseParser();
    const bytes = (text) => new TextEncoder().encode(text);
    assert.deepEqual(parser.push(bytes(": hello\n\nid: 1\nda")), []);
    assert.deepEqual(parser.push(bytes('ta: {"a":1}\r\n\r')), []);
    assert.deepEqual(parser.push(bytes("\ndata:x\ndata: y\n\nevent: z\n\n")), ['{"a":1}', "x\ny"]);
    const [first, second] = [bytes("data: é\n\n").subarray(0, 7), bytes("data: é\n\n").subarray(7)];
    assert.deepEqual([...parser.push(first), ...parser.push(second)], ["é"]);
    assert.throws(() => parser.push(bytes(`data: ${"x".repeat(5 << 20)}`)), RangeError);
  });

  test("ICE servers out of Link headers", () => {
    const link = '<stun:a.example>; rel="ice-server", <turn:b.example:3478?transport=udp>; rel="ice-server"; username="u,1"; credential="c\\"2"; credential-type="password", </x>; rel=next';
    assert.deepEqual(iceServersOf(link), [{ urls: "stun:a.example" }, { urls: "turn:b.example:3478?transport=udp", username: "u,1", credential: 'c"2' }]);
    assert.deepEqual(iceServersOf(""), []);
  });

  test("layers follow the size of the picture", () => {
    assert.deepEqual([160, 640, 1280, 1920].map((width) => layersFor(width).map(({ rid }) => rid).join("")), ["f", "hf", "qhf", "qhf"]);
  });
});

describe("encrypted frames", async () => {
  const key = await roomKey("correct horse", "room");
  const keyFrame = Uint8Array.from({ length: 400 }, (_, at) => (at === 0 ? 0x10 : at & 255));
  const deltaFrame = Uint8Array.from({ length: 90 }, (_, at) => (at === 0 ? 0x31 : at & 255));

  test("a frame comes out as it went in, with the bytes clear that packetizers read", async () => {
    const [sealer, opener] = [new FrameSealer(key, "video"), new FrameOpener(key, "video")];
    for (const [frame, clear] of [[keyFrame, 10], [deltaFrame, 3], [Uint8Array.of(1), 3]]) {
      assert.equal(clearBytes("video", frame), clear);
      const sealed = await sealer.seal(frame);
      assert.deepEqual(sealed.subarray(0, Math.min(clear, frame.length)), frame.subarray(0, clear));
      if (frame.length > 16) assert.deepEqual(await opener.open(sealed), frame);
    }
    const sound = await new FrameSealer(key, "audio").seal(Uint8Array.of(0x78, 1, 2, 3));
    assert.equal(sound[0], 0x78);
    assert.deepEqual(await new FrameOpener(key, "audio").open(sound), Uint8Array.of(0x78, 1, 2, 3));
  });

  test("no frame of any sender looks like another one", async () => {
    const sealers = [new FrameSealer(key, "video"), new FrameSealer(key, "video")];
    const seen = new Set();
    for (const sealer of sealers) for (let at = 0; at < 50; at += 1) seen.add(Buffer.from((await sealer.seal(deltaFrame)).subarray(3, -13)).toString("hex"));
    assert.equal(seen.size, 100);
  });

  test("what was changed, is clear, or has another passphrase or room cannot be read", async () => {
    const opener = new FrameOpener(key, "video");
    const sealed = await new FrameSealer(key, "video").seal(deltaFrame);
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = sealed.slice();
      changed[at] ^= 0x40;
      assert.equal(await opener.open(changed), null, `byte ${at}`);
    }
    assert.equal(await opener.open(deltaFrame), null);
    assert.equal(await opener.open(new Uint8Array(0)), null);
    for (const other of [await roomKey("wrong", "room"), await roomKey("correct horse", "other")]) assert.equal(await new FrameOpener(other, "video").open(sealed), null);
  });
});
