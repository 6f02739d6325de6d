// libdatachannel, the stack that OBS publishes with: H.264 and Opus to Chromium, and back. Its candidates, its SSRCs and its
// packetizers are those that OBS has; OBS itself needs a display.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { clips, libdatachannel } from "../clients/stacks.mjs";
import { launchChromium } from "../lib/browser.mjs";
import { assertPlays, untilConnected, untilListed, watch } from "../lib/checks.mjs";
import { Client } from "../lib/client.mjs";
import { makeClips } from "../lib/ffmpeg.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

describe("libdatachannel", { timeout: 90_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium() }));
  const running = [];

  const start = (role, path) => {
    const url = `http://127.0.0.1:${cast.server.httpPort}${path}`;
    const client = new Client(libdatachannel.command, role, url, { codec: "H264", seconds: 60, ...libdatachannel.options });
    running.push(client);
    return client;
  };

  before(() => makeClips(clips));
  after(() => Promise.all(running.map((client) => client.stop())));

  test("H.264 and Opus from libdatachannel are watched in Chromium", { timeout: 40_000 }, async () => {
    const publisher = start("publish", "/whip/ldc?participant=obs");
    await publisher.until("it is connected", 10_000, ({ state }) => state === "connected");
    await untilConnected(cast.server, "ldc", "obs", 5_000);
    const page = await cast.browsers.chromium.bench(cast.server.url);
    await watch(page, "ldc", "obs");
    await assertPlays(page, "watch obs", { label: "libdatachannel -> chromium", codec: "H264", minFps: 15 });
    const { reports } = await publisher.until("receiver reports", 5_000, (now) => now.reports > 0);
    console.log(`libdatachannel: ${reports} receiver reports, ${JSON.stringify(publisher.now)}`);
    await page.close();
    await publisher.stop();
    await untilListed(cast.server, "ldc", "obs", false, 5_000);
  });

  test("H.264 and Opus from Chromium reach libdatachannel whole", { timeout: 40_000 }, async () => {
    const page = await cast.browsers.chromium.bench(cast.server.url);
    await page.evaluate((wanted) => window.e2e.publish(wanted), { room: "back", participant: "anna", codec: "H264" });
    await untilConnected(cast.server, "back", "anna", 10_000);
    const viewer = start("watch", "/whep/back/anna");
    const seen = await viewer.until("pictures and sound", 15_000, ({ frames, sound }) => frames > 60 && sound > 100);
    console.log(`chromium -> libdatachannel: ${JSON.stringify(seen)}`);
    assert.equal(seen.codec, "H264");
    assert.ok(seen.keyFrames >= 1, "it begins with a key frame");
    assert.equal(seen.gaps, 0, "no sequence number is missing");
    await viewer.stop();
    await page.close();
  });
});
