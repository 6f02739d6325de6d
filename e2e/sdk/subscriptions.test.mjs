// Wishes of the page for its slots, over the changes of a room.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { RoomState } from "../../web/sdk/state.js";
import { Slot, Slots } from "../../web/sdk/slots.js";
import { Subscriptions } from "../../web/sdk/subscriptions.js";

const track = (id, source = "camera") => ({ id, kind: "video", source, name: "", muted: false, active: true, codecs: [], layers: [] });
const member = (identity, ...tracks) => ({ type: "member", seq: 1, member: { identity, name: "", metadata: "", kind: "session", presence: "connected", tracks } });

function room(videos = 3) {
  const known = new RoomState();
  const slots = new Slots(known);
  slots.grow("audio", 1);
  slots.grow("video", videos);
  slots.all.forEach((slot, at) => (slot.transceiver = { mid: String(at), receiver: { track: null } }));
  known.apply(member("bob", track("1"), track("2", "screen")));
  known.apply(member("cyn", track("3")));
  return { known, slots, subscriptions: new Subscriptions(slots, known) };
}

const placed = (subscriptions) => subscriptions.command.command.slots?.map(({ mid, track }) => `${mid}:${track}`).join(" ");

describe("what the page wants in its slots", () => {
  test("by the node, with pins", () => {
    const { known, subscriptions } = room();
    assert.deepEqual(subscriptions.command.command, { type: "subscribe", policy: "auto", pinned: [] });
    subscriptions.auto([known.members.get("bob"), "eve"]);
    assert.deepEqual(subscriptions.command.command.pinned, ["bob", "eve"]);
    assert.deepEqual(subscriptions.admission, { policy: "auto", pinned: ["bob", "eve"] });
  });

  test("by the page: tracks, ids, slots by place, object and section", () => {
    const { known, slots, subscriptions } = room();
    subscriptions.manual([{ track: known.track("3"), width: 320, height: 180 }, { track: "1" }]);
    assert.equal(placed(subscriptions), "1:3 2:1");
    assert.deepEqual(subscriptions.command.command.slots[0], { mid: "1", track: "3", width: 320, height: 180 });
    assert.deepEqual(subscriptions.admission, { policy: "manual", slots: [] });
    subscriptions.manual([{ slot: 3, track: "1" }, { slot: slots.all[2], track: null }, { mid: "1", track: "2" }]);
    assert.equal(placed(subscriptions), "3:1 2:null 1:2");
    for (const wrong of [{ slot: 0 }, { slot: 9 }, { mid: "9" }]) assert.throws(() => subscriptions.manual([{ ...wrong, track: "1" }]), RangeError);
    assert.ok(slots.all[0] instanceof Slot);
  });

  test("slots that are not named stay as they were wanted", () => {
    const { subscriptions } = room();
    subscriptions.manual([{ slot: 1, track: "1" }, { slot: 2, track: "2" }]);
    subscriptions.manual([{ slot: 2, track: "3" }]);
    assert.equal(placed(subscriptions), "1:1 2:3");
    subscriptions.auto([]);
    subscriptions.manual([{ slot: 3, track: "3" }]);
    assert.equal(placed(subscriptions), "3:3");
  });

  test("more wishes than slots", () => {
    const { subscriptions } = room(2);
    subscriptions.manual([{ track: "1" }, { track: "2" }, { track: "3" }]);
    assert.equal(subscriptions.command.missing, 1);
  });

  test("a member that comes back is followed", () => {
    const { known, subscriptions } = room();
    subscriptions.manual([{ track: "1" }, { slot: 3, track: "3" }]);
    known.apply(member("bob", track("7"), track("8", "screen")));
    assert.ok(subscriptions.followed(known.members.get("bob")));
    assert.ok(!subscriptions.followed(known.members.get("bob")));
    assert.ok(!subscriptions.followed(known.members.get("cyn")));
    assert.equal(placed(subscriptions), "3:3 1:7");
    known.apply({ type: "member_left", seq: 2, identity: "cyn", reason: "peer_closed" });
    known.apply(member("cyn"));
    assert.ok(!subscriptions.followed(known.members.get("cyn")), "it publishes nothing yet");
    known.apply(member("cyn", track("9")));
    assert.ok(subscriptions.followed(known.members.get("cyn")));
    assert.equal(placed(subscriptions), "3:9 1:7");
  });

  test("a node that was restarted gives old ids to other tracks", async () => {
    const { known, subscriptions } = room();
    subscriptions.manual([{ track: "1" }]);
    const told = [];
    const session = { events: { command: async ({ slots }) => told.push(slots.map(({ track }) => track).join()) } };
    known.apply({ type: "member_left", seq: 2, identity: "bob", reason: "missed" });
    known.apply(member("cyn", track("1")));
    await subscriptions.placed(session);
    assert.deepEqual(told, [], "the track of that number is another member's");
    known.apply(member("bob", track("5"), track("6", "screen")));
    assert.ok(subscriptions.followed(known.members.get("bob")));
    await subscriptions.placed(session);
    assert.deepEqual(told, ["5"]);
  });

  test("a track that comes back under its old number is told anew", async () => {
    const { known, subscriptions } = room();
    subscriptions.manual([{ track: "1" }]);
    const told = [];
    const session = { events: { command: async ({ slots }) => told.push(slots.map(({ track }) => track).join()) } };
    known.apply({ type: "member_left", seq: 2, identity: "bob", reason: "missed" });
    await subscriptions.placed(session);
    known.apply(member("bob", track("1")));
    assert.ok(subscriptions.followed(known.members.get("bob")));
    await subscriptions.placed(session);
    assert.deepEqual(told, ["1"]);
    assert.ok(!subscriptions.followed(known.members.get("bob")));
  });
});
