// GStreamer's webrtcbin publishes to Chromium and watches it. Its certificate is RSA 2048, and libnice under it sends no
// consent checks: such a publisher must be accepted and must not be cut off, and neither must a viewer where the operator says so.

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

  const start = (role, path, options, flags, server = cast.server) => {
    const client = new Client(gstreamer.command, role, `http://127.0.0.1:${server.httpPort}${path}`, { seconds: 120, ...options }, flags);
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

  test("VP8 and Opus from GStreamer are watched in Chromium; the publisher stays past the end of consent", { timeout: 90_000 }, async () => {
    const publisher = await seenByChromium("VP8");
    assert.equal(publisher.now.certificate, "RSA", "the certificate that this test is about");
    await publisher.until("time to pass", 60_000, ({ seconds }) => seconds > PAST_CONSENT_S);
    assert.equal(publisher.now.state, "connected");
    await untilListed(cast.server, "gst-VP8", "gst", true, 1_000);
    const viewer = start("watch", "/whep/gst-VP8/gst");
    await viewer.until("a picture that moves", 15_000, ({ frames, moved, sound }) => frames > 10 && moved > 1 && sound > 10);
    assert.equal(viewer.now.certificate, "RSA");
    await viewer.stop();
    await publisher.stop();
    await untilListed(cast.server, "gst-VP8", "gst", false, 5_000);
  });

  test("a viewer in GStreamer stays past the end of consent where the operator says so, and only there", { timeout: 90_000 }, async () => {
    const lenient = await Server.start({ args: ["--set", "media.consent=any"] });
    try {
      const [strict, stays] = [cast.server, lenient].map((server) => start("watch", "/whep/demo", {}, [], server));
      const playing = ({ frames, sound }) => frames > 10 && sound > 10;
      await Promise.all([strict, stays].map((viewer) => viewer.until("a picture and sound", 20_000, playing)));
      await stays.until("time to pass", 60_000, ({ seconds }) => seconds > PAST_CONSENT_S);
      const past = { ...stays.now };
      await stays.until("frames that still come", 5_000, (now) => now.frames > past.frames + 15);
      assert.ok(stays.now.sound > past.sound, "and sound");
      // RFC 7675 section 5.1: nothing is sent to a viewer that does not check.
      const { frames } = strict.now;
      await stays.until("a second more", 10_000, ({ seconds }) => seconds > past.seconds + 2);
      assert.equal(strict.now.frames, frames, "the strict node has stopped sending");
    } finally {
      await lenient.stop();
    }
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
