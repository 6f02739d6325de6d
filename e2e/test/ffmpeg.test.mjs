// ffmpeg publishes H.264 and Opus with its WHIP muxer (setup:passive, no candidates): Chromium watches.

import { after, describe, test } from "node:test";

import { launchChromium } from "../lib/browser.mjs";
import { assertPlays, untilListed, watch } from "../lib/checks.mjs";
import { startFfmpeg } from "../lib/ffmpeg.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";
import { sleep } from "../lib/wait.mjs";

describe("ffmpeg publishes", { timeout: 90_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium() }));
  let ffmpeg;

  after(() => ffmpeg?.stop("SIGKILL"));

  test("H.264 and Opus from ffmpeg are watched in Chromium", { timeout: 60_000 }, async () => {
    ffmpeg = startFfmpeg(`http://127.0.0.1:${cast.server.httpPort}/whip/ffmpeg?participant=encoder`);
    try {
      await untilListed(cast.server, "ffmpeg", "encoder", true, 10_000);
      const page = await cast.browsers.chromium.bench(cast.server.url);
      // Key frames come once a second by themselves: ffmpeg does not listen to requests.
      const first = await watch(page, "ffmpeg", "encoder");
      console.log(`ffmpeg: first frame ${Math.round(first.decodedMs)} ms after the POST`);
      await assertPlays(page, "watch encoder", { label: "ffmpeg -> chromium", codec: "H264", seconds: 5, minFps: 20 });
      await page.close();
      ffmpeg.stop();
      await sleep(500);
      await untilListed(cast.server, "ffmpeg", "encoder", false, 35_000);
    } catch (error) {
      throw new Error(`${error.message}\n--- ffmpeg said:\n${ffmpeg.said().slice(-4_000)}`, { cause: error });
    }
  });
});
