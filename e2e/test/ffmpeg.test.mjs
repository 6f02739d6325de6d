// ffmpeg publishes H.264 and Opus with its WHIP muxer (setup:passive, no candidates): Chromium watches.

import { execFileSync, spawn } from "node:child_process";
import { after, describe, test } from "node:test";

import { launchChromium } from "../lib/browser.mjs";
import { assertPlays, untilListed, watch } from "../lib/checks.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";
import { sleep } from "../lib/wait.mjs";

const FFMPEG =
  process.env.FFMPEG_BIN ?? execFileSync("python3", ["-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"], { encoding: "utf8" }).trim();

describe("ffmpeg publishes", { timeout: 90_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium() }));
  let ffmpeg;
  let said = "";

  after(() => {
    if (ffmpeg && ffmpeg.exitCode === null) ffmpeg.kill("SIGKILL");
  });

  test("H.264 and Opus from ffmpeg are watched in Chromium", { timeout: 60_000 }, async () => {
    const args = [
      "-hide_banner", "-nostdin", "-loglevel", "info", "-re",
      "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30",
      "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
      "-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0", "-g", "30", "-b:v", "800k",
      "-c:a", "libopus", "-ar", "48000", "-ac", "2", "-b:a", "48k",
      "-t", "40", "-f", "whip", `http://127.0.0.1:${cast.server.httpPort}/whip/ffmpeg?participant=encoder`,
    ];
    ffmpeg = spawn(FFMPEG, args, { stdio: ["ignore", "ignore", "pipe"] });
    ffmpeg.stderr.on("data", (chunk) => (said = (said + chunk).slice(-20_000)));
    try {
      await untilListed(cast.server, "ffmpeg", "encoder", true, 10_000);
      const page = await cast.browsers.chromium.bench(cast.server.url);
      // Key frames come once a second by themselves: ffmpeg does not listen to requests.
      const first = await watch(page, "ffmpeg", "encoder");
      console.log(`ffmpeg: first frame ${Math.round(first.decodedMs)} ms after the POST`);
      await assertPlays(page, "watch encoder", { label: "ffmpeg -> chromium", codec: "H264", seconds: 5, minFps: 20 });
      await page.close();
      ffmpeg.kill("SIGTERM");
      await sleep(500);
      await untilListed(cast.server, "ffmpeg", "encoder", false, 35_000);
    } catch (error) {
      throw new Error(`${error.message}\n--- ffmpeg said:\n${said.slice(-4_000)}`, { cause: error });
    }
  });
});
