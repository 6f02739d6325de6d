// GStreamer's webrtcbin publishes to Chromium and watches it. Its certificate is RSA 2048, and libnice under it sends no
// consent checks: clients like it must be let in, and must not be cut off while they are there.

import assert from "node:assert/strict";
import { after, describe, test } from "node:test";

import { gstreamer } from "../clients/stacks.mjs";
import { launchChromium } from "../lib/browser.mjs";
import { assertPlays, untilConnected, untilListed, watch } from "../lib/checks.mjs";
import { Client } from "../lib/client.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

/** A session without consent ends after 30 s (RFC 7675 section 5.1), and is looked at once a second or so. */
const PAST_CONSENT_S = 37;

describe("GStreamer", { timeout: 150_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium() }));
  const running = [];

  const start = (role, path, options, flags) => {
    const client = new Client(gstreamer.command, role, `http://127.0.0.1:${cast.server.httpPort}${path}`, { seconds: 120, ...options }, flags);
    running.push(client);
    return client;
  };

  after(() => Promise.all(running.map((client) => client.stop())));

  /** A publisher in GStreamer, seen by Chromium. */
  async function seenByChromium(codec, { room = `gst-${codec}`, flags = [] } = {}) {
    const publisher = start("publish", `/whip/${room}?participant=gst`, { codec }, flags);
    await publisher.until("it is connected", 10_000, ({ state }) => state === "connected");
    await untilConnected(cast.server, room, "gst", 10_000);
    const page = await cast.browsers.chromium.bench(cast.server.url);
    const first = await watch(page, room, "gst");
    console.log(`GStreamer ${codec}: first frame ${Math.round(first.decodedMs)} ms after the POST`);
    // What is held is that the picture is there and moves. Encoder and decoder share a machine, so its pace is not held closely.
    await assertPlays(page, "watch gst", { label: `GStreamer ${codec} -> chromium`, codec, minFps: 8, freezes: 8, maxDelayMs: 1_500 });
    await page.close();
    return publisher;
  }

  test("VP8 and Opus from GStreamer are watched in Chromium, and by GStreamer; both stay past the end of consent", { timeout: 90_000 }, async () => {
    const publisher = await seenByChromium("VP8");
    assert.equal(publisher.now.certificate, "RSA", "the certificate that this test is about");
    const viewer = start("watch", "/whep/gst-VP8/gst");
    const { frames } = await viewer.until("a picture that moves", 15_000, ({ frames, moved, sound }) => frames > 10 && moved > 1 && sound > 10);
    assert.equal(viewer.now.certificate, "RSA");
    await viewer.until("time to pass", 60_000, ({ seconds }) => seconds > PAST_CONSENT_S);
    const past = await viewer.until("a second more", 10_000, ({ seconds }) => seconds > PAST_CONSENT_S + 1);
    console.log(`GStreamer after ${past.seconds} s: ${JSON.stringify(past)}; publisher ${JSON.stringify(publisher.now)}`);
    assert.equal(past.state, "connected");
    assert.ok(past.frames - frames > 15 * (PAST_CONSENT_S - 10), `${past.frames} frames in ${past.seconds} s`);
    assert.ok(publisher.now.seconds > PAST_CONSENT_S && publisher.now.state === "connected", "the publisher is still there");
    await untilListed(cast.server, "gst-VP8", "gst", true, 1_000);
    const more = await viewer.until("frames still come", 5_000, (now) => now.frames > past.frames + 15);
    assert.ok(more.sound > past.sound, "and sound");
    await viewer.stop();
    await publisher.stop();
    await untilListed(cast.server, "gst-VP8", "gst", false, 5_000);
  });

  test("H.264 and Opus from GStreamer are watched in Chromium", { timeout: 60_000 }, async () => {
    const publisher = await seenByChromium("H264");
    await publisher.stop();
  });

  test("H.264 Main whose parameter sets stand in the offer alone is watched in Chromium", { timeout: 60_000 }, async () => {
    const publisher = await seenByChromium("H264", { room: "out-of-band", flags: ["--out-of-band"] });
    await publisher.stop();
  });

  for (const codec of ["VP8", "H264"]) {
    test(`${codec} and Opus from Chromium are decoded by GStreamer`, { timeout: 60_000 }, async () => {
      const room = `chromium-${codec}`;
      const page = await cast.browsers.chromium.bench(cast.server.url);
      await page.evaluate((wanted) => window.e2e.publish(wanted), { room, participant: "anna", codec });
      const viewer = start("watch", `/whep/${room}/anna`);
      const seen = await viewer.until("a picture that moves", 20_000, ({ frames, moved, sound }) => frames > 60 && moved > 0.3 && sound > 50);
      console.log(`chromium ${codec} -> GStreamer: ${JSON.stringify(seen)}`);
      assert.match(seen.size, /^(640x360|480x270|320x180)$/, "Chromium sends what it thinks that the line carries");
      assert.ok(seen.keyFrames >= 1);
      assert.equal(seen.error, null);
      await viewer.stop();
      await page.evaluate((name) => window.e2e.bye(name), "anna");
      await page.close();
    });
  }
});
