// Members of a node that asks for tokens: what a token allows, and what happens when it expires.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { before, describe, test } from "node:test";

import { launchChromium } from "../lib/browser.mjs";
import { Member } from "../lib/member.mjs";
import { nodeEnvironment, Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/wait.mjs";

const KEY = ["--set", "auth.keys=e2e=0123456789abcdef0123456789abcdef"];
const ROOM = "closed";
/** The node tells so long before a token expires. */
const TOLD_BEFORE_SECONDS = 60;

function token(identity, ...args) {
  const command = ["token", ...KEY, "--room", ROOM, "--identity", identity, ...args];
  return execFileSync(path.resolve(process.env.SFUMATO_BIN), command, { encoding: "utf8", env: nodeEnvironment() }).trim();
}

describe("members with tokens", { timeout: 120_000 }, () => {
  const cast = stage(() => ({ server: Server.start({ mode: "serve", args: [...KEY, "--set", "auth.expiry_grace_seconds=1"] }), chromium: launchChromium() }));
  /** @type {Record<string, Member>} */
  const members = {};
  const url = () => `${cast.server.url}/v1/rooms/${ROOM}`;

  before(async () => {
    for (const name of ["ann", "bob"]) members[name] = await Member.open(cast.browsers.chromium, cast.server.url, name);
    await members.ann.call("join", { url: url(), token: token("ann", "--publish", "--subscribe", "--name", "Ann A."), colour: "red", frequency: 300 });
  }, { timeout: 60_000 });

  const record = async (identity) => (await members.ann.call("view")).members.find((member) => member.identity === identity);

  test("a token says who one is; without one, or with that of another room, the node says no", { timeout: 30_000 }, async () => {
    assert.equal((await record("ann")).name, "Ann A.");
    for (const [wrong, status] of [[null, 401], ["x.y.z", 401], [token("bob", "--publish").replace(/.$/, "-"), 401]]) {
      await assert.rejects(members.bob.call("join", { url: url(), token: wrong }), (error) => error.message.includes("RoomError") || assert.fail(`${status}: ${error.message}`));
    }
    await assert.rejects(members.bob.call("join", { url: `${cast.server.url}/v1/rooms/other`, token: token("bob", "--publish") }), /RoomError/);
  });

  test("what a token does not allow is not forwarded", { timeout: 30_000 }, async () => {
    const { ann, bob } = members;
    const listening = { url: url(), token: token("bob", "--publish=microphone", "--subscribe", "--no-data"), frequency: 400 };
    await assert.rejects(bob.call("join", { ...listening, colour: "blue" }), /camera/);
    await bob.call("leave");
    await bob.call("join", listening);
    await bob.untilFrames("ann");
    assert.deepEqual((await bob.call("view")).permissions.publish, ["microphone"]);
    await until("ann hears bob's microphone", 5_000, async () => (await ann.call("view")).slots.some((slot) => slot.member === "bob" && slot.kind === "audio"));
    await assert.rejects(bob.call("publish", "screen", { colour: "blue" }), /may not publish screen/);
    assert.deepEqual((await record("bob")).tracks.map(({ source }) => source), ["microphone"]);
    await assert.rejects(bob.call("send", "chat", "x"), /may not send/);
    await bob.call("leave");
  });

  test("a token that expires soon is renewed, and the session goes on", { timeout: 40_000 }, async () => {
    const { bob } = members;
    const grants = ["--publish", "--subscribe"];
    await bob.call("join", { url: url(), tokens: [token("bob", ...grants, "--ttl", String(TOLD_BEFORE_SECONDS + 3)), token("bob", ...grants)], colour: "blue" });
    const { session } = await bob.call("view");
    await until("bob is told", 15_000, async () => (await bob.call("saw")).some(({ type }) => type === "tokenexpiring"));
    await until("bob fetched another token", 3_000, async () => (await bob.call("tokensFetched")) === 2);
    await bob.untilFrames("ann");
    assert.equal((await bob.call("view")).session, session);
    await bob.call("leave");
  });

  test("a token that expires ends the session; who can fetch another one comes back by itself", { timeout: 40_000 }, async () => {
    const { ann, bob } = members;
    await bob.call("join", { url: url(), token: token("bob", "--subscribe", "--ttl", "3") });
    await until("bob is told the end", 15_000, async () => (await bob.call("saw")).some(({ type, reason }) => type === "closed" && reason === "expired"));
    await until("bob is gone", 5_000, async () => !(await record("bob")));
    await bob.call("leave");

    // The warning finds no new token, so that the session does end.
    await bob.call("join", { url: url(), tokens: [token("bob", "--subscribe", "--ttl", "4"), "", token("bob", "--subscribe")] });
    const { session } = await bob.call("view");
    await until("bob has another session", 20_000, async () => {
      const now = await bob.call("view");
      return now.state === "connected" && now.session !== session;
    });
    await bob.untilFrames("ann");
    assert.deepEqual((await bob.call("saw")).filter(({ type }) => type === "closed"), []);
    for (const member of [ann, bob]) {
      await member.call("leave");
      assert.deepEqual(member.errors, []);
    }
  });
});
