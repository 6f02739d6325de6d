// What happens around a session: a camera that pauses, a viewer who comes late, a publisher who vanishes, a node that stops.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { launchChromium, launchFirefox } from "../lib/browser.mjs";
import { assertPlays, untilConnected, untilListed, watch } from "../lib/checks.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";
import { sleep } from "../lib/wait.mjs";

/** Consent expires 30 s after the last check (RFC 7675 section 5.1); checks come each 5 s at most. */
const CONSENT_MS = 35_000;

describe("sessions come and go", { timeout: 180_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium(), firefox: launchFirefox() }));

  test("a camera that goes off and on again is seen again", { timeout: 60_000 }, async () => {
    const publisher = await cast.browsers.chromium.bench(cast.server.url);
    const watcher = await cast.browsers.firefox.bench(cast.server.url);
    await publisher.evaluate((wanted) => window.e2e.publish(wanted), { room: "pause", participant: "bea" });
    await watch(watcher, "pause", "bea");
    await publisher.evaluate(() => window.e2e.cameraOff("bea"));
    await sleep(1_500);
    const still = await watcher.evaluate(() => window.e2e.stats("watch bea"));
    await sleep(2_000);
    const stillStill = await watcher.evaluate(() => window.e2e.stats("watch bea"));
    assert.equal(stillStill.video.framesDecoded, still.video.framesDecoded, "no frames while the camera is off");
    assert.ok(stillStill.audio.packets > still.audio.packets + 50, "the sound goes on");
    const began = Date.now();
    await publisher.evaluate(() => window.e2e.cameraOn("bea"));
    await watcher.waitFor("frames again", 10_000, async (count) => (await window.e2e.stats("watch bea")).video.framesDecoded > count, stillStill.video.framesDecoded);
    console.log(`camera on again: first frame after ${Date.now() - began} ms`);
    await assertPlays(watcher, "watch bea", { label: "after the pause", freezes: 2 });
    await watcher.close();
    await publisher.close();
  });

  test("who comes late sees a picture at once", { timeout: 60_000 }, async () => {
    const publisher = await cast.browsers.chromium.bench(cast.server.url);
    await publisher.evaluate((wanted) => window.e2e.publish(wanted), { room: "late", participant: "carl" });
    await watch(publisher, "late", "carl", "early");
    await sleep(5_000);
    for (const browser of Object.values(cast.browsers)) {
      const page = await browser.bench(cast.server.url);
      const first = await watch(page, "late", "carl", "late");
      console.log(`late viewer in ${browser.name}: answer ${Math.round(first.answeredMs)} ms, first frame ${Math.round(first.decodedMs)} ms after the POST`);
      assert.ok(first.decodedMs < 2_500, `${browser.name}: first frame after ${Math.round(first.decodedMs)} ms`);
      await page.close();
    }
    await publisher.close();
  });

  test("a publisher who vanishes without a word is gone when consent expires", { timeout: 90_000 }, async () => {
    const doomed = await launchChromium();
    const page = await doomed.bench(cast.server.url);
    await page.evaluate((wanted) => window.e2e.publish(wanted), { room: "vanish", participant: "dora" });
    await untilConnected(cast.server, "vanish", "dora", 10_000);
    await doomed.kill();
    const began = Date.now();
    await untilListed(cast.server, "vanish", "dora", false, CONSENT_MS + 5_000);
    console.log(`gone ${((Date.now() - began) / 1000).toFixed(1)} s after the kill`);
    await doomed.close();
  });

  test("the page comes back by itself when the node was restarted", { timeout: 60_000 }, async () => {
    const own = await Server.start();
    const page = await cast.browsers.chromium.open(`${own.url}/whip.html?room=demo`);
    const ready = () => window.sfumato?.viewers.size === 1 && [...window.sfumato.viewers.values()][0].tile.element.dataset.veil === "";
    await page.waitFor("the test card plays", 15_000, ready);
    await page.evaluate(() => {
      document.getElementById("name").value = "gina";
    });
    await page.click("#start-camera");
    await page.waitFor("it sends", 15_000, () => document.getElementById("sending").textContent.includes("gina"));
    await own.stop();
    await page.waitFor("it says that the server is away", 20_000, () => document.getElementById("link").dataset.state === "down");
    const again = await Server.start({ httpPort: own.httpPort, mediaPort: own.mediaPort });
    try {
      const began = Date.now();
      await page.waitFor("the test card plays again", 30_000, ready);
      await untilConnected(again, "demo", "gina", 20_000);
      console.log(`back ${Date.now() - began} ms after the node was up again`);
    } finally {
      await page.close();
      await again.stop();
    }
  });

  test("SIGTERM ends the node within seconds, and the browsers notice", { timeout: 60_000 }, async () => {
    const own = await Server.start();
    const publisher = await cast.browsers.chromium.bench(own.url);
    const watcher = await cast.browsers.firefox.bench(own.url);
    await publisher.evaluate((wanted) => window.e2e.publish(wanted), { room: "end", participant: "emil" });
    await watch(watcher, "end", "emil");
    await watch(publisher, "end", "emil", "own");
    const memory = await own.memory();
    const ended = await own.stop();
    console.log(`SIGTERM: ${JSON.stringify(ended)}, ${memory} MiB before`);
    assert.equal(ended.code, 0, `exit code; the node wrote: ${own.log.slice(-2000)}`);
    assert.ok(ended.milliseconds < 6_000, `it took ${ended.milliseconds} ms`);
    for (const [page, name] of [[publisher, "emil"], [publisher, "own"], [watcher, "watch emil"]]) {
      const seen = await page.waitFor(`${name} sees the end`, 8_000, (wanted) => {
        const now = window.e2e.states(wanted);
        return now.dtls === "closed" ? now : null;
      }, name);
      console.log(`${page.browser.name} ${name}: connection ${seen.now}, DTLS ${seen.dtls}`);
    }
    await watcher.close();
    await publisher.close();
  });
});
