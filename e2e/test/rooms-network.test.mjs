// Members whose network fails, and a node that is restarted: media comes back without anybody doing anything. In a network namespace
// of its own; needs root.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { launchChromium } from "../lib/browser.mjs";
import { Member } from "../lib/member.mjs";
import { Namespace } from "../lib/netns.mjs";
import { Server } from "../lib/server.mjs";
import { sleep, until } from "../lib/wait.mjs";

const CUT_SECONDS = 10;
const ROOM = "bad-line";

describe("rooms on bad networks", { timeout: 240_000 }, () => {
  let namespace;
  let server;
  let browser;
  /** @type {Member[]} */
  let members = [];

  before(async () => {
    namespace = await Namespace.create("10.77.1.1");
    server = await Server.start({ mode: "serve", netns: namespace.name, mediaAddress: namespace.address });
    browser = await launchChromium({ netns: namespace.name });
    for (const [at, name] of ["ann", "bob"].entries()) {
      const member = await Member.open(browser, server.url, name);
      await member.call("join", { url: `${server.url}/v1/rooms/${ROOM}`, colour: at ? "blue" : "red", frequency: 300 + at * 100, options: { identity: name } });
      members.push(member);
    }
    const [ann, bob] = members;
    await ann.untilFrames("bob");
    await bob.untilFrames("ann");
  }, { timeout: 90_000 });

  after(async () => {
    await browser?.close();
    await server?.stop();
    await namespace?.remove();
  }, { timeout: 30_000 });

  const untilState = (member, state, limit) => until(`${member.name} is ${state}`, limit, async () => (await member.call("view")).state === state, 50);

  /** Until both see each other again; gives the milliseconds that it took. */
  async function untilBack(limit) {
    const began = Date.now();
    const [ann, bob] = members;
    await Promise.all([untilState(ann, "connected", limit), untilState(bob, "connected", limit)]);
    await ann.untilFrames("bob");
    await bob.untilFrames("ann");
    return Date.now() - began;
  }

  const sessions = () => Promise.all(members.map(async (member) => (await member.call("view")).session));

  test(`media is cut for ${CUT_SECONDS} s: the same sessions go on`, { timeout: 60_000 }, async () => {
    const before = await sessions();
    await namespace.cut(server.mediaPort);
    for (const member of members) await untilState(member, "reconnecting", 12_000);
    assert.equal((await members[0].call("view")).trouble, "media");
    await sleep(CUT_SECONDS * 1_000 - 6_000);
    await namespace.mend("cut");
    console.log(`media was cut: back ${await untilBack(20_000)} ms after the line was`);
    assert.deepEqual(await sessions(), before);
    const seen = await members[0].call("saw");
    assert.deepEqual(seen.filter(({ type }) => type === "memberleft" || type === "closed"), []);
  });

  test(`everything is cut for ${CUT_SECONDS} s: the same sessions go on, and no news is missed`, { timeout: 75_000 }, async () => {
    const before = await sessions();
    await namespace.cut(server.mediaPort, { tcp: server.httpPort });
    for (const member of members) await untilState(member, "reconnecting", 12_000);
    await sleep(CUT_SECONDS * 1_000 - 6_000);
    await namespace.mend("cut");
    console.log(`everything was cut: back ${await untilBack(40_000)} ms after the line was`);
    assert.deepEqual(await sessions(), before);
    await members[1].call("update", { name: "Bob is back" });
    await until("ann is told", 5_000, async () => (await members[0].call("view")).members.find(({ identity }) => identity === "bob").name === "Bob is back");
  });

  test("the node is restarted: new sessions with the same identities", { timeout: 75_000 }, async () => {
    const before = await sessions();
    await members[0].call("subscribe", "manual", [{ track: await members[0].trackOf("bob", "camera") }]);
    await members[0].untilFrames("bob");
    const { httpPort, mediaPort } = server;
    await server.stop();
    for (const member of members) await untilState(member, "reconnecting", 15_000);
    server = await Server.start({ mode: "serve", netns: namespace.name, mediaAddress: namespace.address, httpPort, mediaPort });
    console.log(`the node was restarted: back ${await untilBack(40_000)} ms after it was`);
    (await sessions()).forEach((session, at) => assert.notEqual(session, before[at]));
    const { members: here } = await members[0].call("view");
    assert.deepEqual(here.map(({ identity, name }) => [identity, name]).sort(), [["ann", ""], ["bob", "Bob is back"]]);
    for (const member of members) assert.deepEqual(member.errors, []);
  });
});
