// ffmpeg: it publishes with its WHIP muxer, and makes the clip in H.264 that other stacks publish.

import { execFileSync, spawn } from "node:child_process";
import { copyFile, mkdir, stat } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const TEST_CARD = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../media");

const binary = () =>
  process.env.FFMPEG_BIN ?? execFileSync("python3", ["-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"], { encoding: "utf8" }).trim();

/** Like `9.0.2`. */
export const ffmpegVersion = () => /version n?([\d.]+)/.exec(execFileSync(binary(), ["-version"], { encoding: "utf8" }))[1];

/** Publishes a moving picture in H.264 and a tone in Opus to `url`. `said()` is what it wrote last, `stop()` ends it; it says goodbye to nobody when it is killed. */
export function startFfmpeg(url, { seconds = 40 } = {}) {
  const args = [
    "-hide_banner", "-nostdin", "-loglevel", "info", "-re",
    "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30",
    "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
    "-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0", "-g", "30", "-b:v", "800k",
    "-c:a", "libopus", "-ar", "48000", "-ac", "2", "-b:a", "48k",
    "-t", String(seconds), "-f", "whip", url,
  ];
  const child = spawn(binary(), args, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk) => (said = (said + chunk).slice(-20_000)));
  return { said: () => said, stop: (signal = "SIGTERM") => child.exitCode === null && child.kill(signal) };
}

/**
 * Puts the test card's files into `directory`, and the same pictures in H.264 beside them: one slice a picture and parameter sets
 * before each key frame, once a second. Takes about two seconds the first time.
 */
export async function makeClips(directory) {
  await mkdir(directory, { recursive: true });
  for (const file of ["testcard.ivf", "testcard.ogg"]) await copyFile(path.join(TEST_CARD, file), path.join(directory, file));
  const clip = path.join(directory, "testcard.h264");
  const there = await stat(clip).catch(() => null);
  if (there?.size > 0) return;
  const encoder = "-c:v libx264 -profile:v baseline -pix_fmt yuv420p -preset veryfast -tune zerolatency -bf 0 -g 30 -b:v 800k -x264-params sliced-threads=0:slices=1";
  execFileSync(binary(), ["-v", "error", "-y", "-i", path.join(TEST_CARD, "testcard.ivf"), ...encoder.split(" "), "-f", "h264", clip]);
}
