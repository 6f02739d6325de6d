// Each of Chromium and Firefox publishes by WHIP, and each watches both by WHEP: four pairings, and the codecs.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { launchChromium, launchFirefox } from "../lib/browser.mjs";
import { assertPlays, watch } from "../lib/checks.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

describe("browsers publish and watch", { timeout: 240_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium(), firefox: launchFirefox() }));
  const pages = {};

  before(async () => {
    for (const [name, browser] of Object.entries(cast.browsers)) pages[name] = await browser.bench(cast.server.url);
  }, { timeout: 60_000 });

  const bye = (page, name) => page.evaluate((wanted) => window.e2e.bye(wanted), name);

  for (const [codec, publishers, watchers] of [
    ["VP8", ["chromium", "firefox"], ["chromium", "firefox"]],
    ["VP9", ["chromium", "firefox"], ["chromium", "firefox"]],
    ["AV1", ["chromium", "firefox"], ["chromium", "firefox"]],
    ["H264", ["chromium"], ["chromium"]],
  ]) {
    for (const publisher of publishers) {
      test(`${codec} and Opus from ${publisher} to ${watchers.join(" and ")}`, { timeout: 60_000 }, async () => {
        const room = `pair-${codec}-${publisher}`;
        const participant = `${publisher}-${codec}`;
        await pages[publisher].evaluate((wanted) => window.e2e.publish(wanted), { room, participant, codec });
        try {
          for (const watcher of watchers) {
            const name = `watch ${participant}`;
            const first = await watch(pages[watcher], room, participant, name);
            console.log(`${codec} ${publisher} -> ${watcher}: first frame ${Math.round(first.decodedMs)} ms after the POST`);
            await assertPlays(pages[watcher], name, { label: `${codec} ${publisher} -> ${watcher}`, codec });
            assert.equal(await bye(pages[watcher], name), 200, "DELETE of the watching session");
          }
        } finally {
          await bye(pages[publisher], participant);
        }
        assert.deepEqual(await cast.server.participants(room), [], "the room is empty after DELETE");
      });
    }
  }

  test("three layers of simulcast: the largest one is watched", { timeout: 60_000 }, async () => {
    const page = pages.chromium;
    await page.evaluate((wanted) => window.e2e.publish(wanted), { room: "simulcast", participant: "three", simulcast: true, width: 1280, height: 720 });
    await watch(page, "simulcast", "three");
    await page.waitFor("the watched picture grows to 1280x720", 25_000, async () => (await window.e2e.stats("watch three")).video?.width === 1280);
    const { sent } = await page.evaluate((wanted) => window.e2e.stats(wanted), "three");
    const layers = sent.filter(({ kind }) => kind === "video");
    console.log(`simulcast: sent ${JSON.stringify(layers.map(({ rid, width, height, frames }) => ({ rid, width, height, frames })))}`);
    assert.deepEqual(layers.map(({ rid }) => rid).sort(), ["f", "h", "q"]);
    for (const { rid, packets } of layers) assert.ok(packets > 0, `layer ${rid} is sent`);
    const [listed] = await cast.server.participants("simulcast");
    assert.deepEqual(listed.tracks.find(({ kind }) => kind === "video").rids, ["q", "h", "f"]);
    await assertPlays(page, "watch three", { label: "simulcast", codec: "VP8", minFps: 6, freezes: 2 });
    await bye(page, "watch three");
    await bye(page, "three");
  });

  test("an ICE restart keeps the pictures coming", { timeout: 60_000 }, async () => {
    const [publisher, watcher] = [pages.chromium, pages.firefox];
    await publisher.evaluate((wanted) => window.e2e.publish(wanted), { room: "restart", participant: "anna" });
    await watch(watcher, "restart", "anna");
    for (const [page, name] of [[publisher, "anna"], [watcher, "watch anna"]]) {
      const answer = await page.evaluate((wanted) => window.e2e.restart(wanted), name);
      console.log(`ICE restart of ${page.browser.name}: ${JSON.stringify(answer)}`);
      assert.notEqual(answer.ufrag, answer.before, "the server's credentials are new");
      assert.notEqual(answer.etag, answer.previous, "the entity tag is new");
      assert.match(answer.etag, /^"[^"]+"$/, "the entity tag is a strong one");
      assert.match(answer.contentType, /^application\/trickle-ice-sdpfrag/);
    }
    // Past the three seconds for which old credentials live.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await assertPlays(watcher, "watch anna", { label: "after the ICE restart" });
    await bye(watcher, "watch anna");
    await bye(publisher, "anna");
  });
});
