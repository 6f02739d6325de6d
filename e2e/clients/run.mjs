// Tries a node with every stack there is a program for, in both roles, and prints the tables of docs/interop.md.
//
//   SFUMATO_BIN=../target/release/sfumato npm run clients [-- --only Pion,werift --quick --set media.consent=checks]
//
// `--quick` leaves out the part that waits until consent would have ended, `--stay` does that part only, `--set` is for the node.
// Exit code 1 where something did not work.

import { parseArgs } from "node:util";

import { launchChromium, launchFirefox } from "../lib/browser.mjs";
import { assertPlays, untilConnected, watch } from "../lib/checks.mjs";
import { Client } from "../lib/client.mjs";
import { ffmpegVersion, makeClips, startFfmpeg } from "../lib/ffmpeg.mjs";
import { Server } from "../lib/server.mjs";
import { sleep, until } from "../lib/wait.mjs";
import { all, clips, isBuilt } from "./stacks.mjs";

/** Past the 30 s after which a session without consent ends (RFC 7675 section 5.1), with time for what sees to it. */
const STAY_S = 40;

const { values } = parseArgs({ options: { only: { type: "string" }, quick: { type: "boolean" }, stay: { type: "boolean" }, set: { type: "string", multiple: true, default: [] } } });
const names = values.only?.split(",");
const stacks = all.filter(({ name }) => !names || names.includes(name));
const notes = [];
let failures = 0;

/** A cell of a table: what `attempt` gives, or that it failed; the reason stands below the tables. */
async function cell(label, attempt) {
  try {
    const text = await attempt();
    console.error(`${label}: ${text}`);
    return text;
  } catch (error) {
    failures += 1;
    notes.push(`${label}: ${error.message}`);
    console.error(`${label}: FAILED\n${error.message}`);
    return "fails";
  }
}

const row = (cells) => console.log(`| ${cells.join(" | ")} |`);

function table(head, rows) {
  row(head);
  console.log(`|${"---|".repeat(head.length)}`);
  for (const cells of rows) row(cells);
  console.log();
}

/** The profile that the node agreed on last, from its log: not every stack tells it. */
const agreed = (server) => [...server.log.matchAll(/profile"?[=:]\s*"?(\w+).*keys agreed|keys agreed.*profile"?[=:]\s*"?(\w+)/g)].map(([, before, behind]) => before ?? behind).at(-1);

/** Each stack and the node's log spell the profiles in their own way. */
function short(srtp) {
  if (/128.*gcm/i.test(srtp)) return "AES-128-GCM";
  if (/256.*gcm/i.test(srtp)) return "AES-256-GCM";
  if (/128.*cm.*sha1.?80/i.test(srtp)) return "AES-128-CM, SHA-1";
  return srtp ?? "not told";
}

class Trial {
  constructor(server, chromium, firefox) {
    Object.assign(this, { server, chromium, firefox, running: [] });
    this.origin = `http://127.0.0.1:${server.httpPort}`;
  }

  start(stack, role, path, options = {}) {
    const client = new Client(stack.command, role, `${this.origin}${path}`, { seconds: 150, ...stack.options, ...options });
    this.running.push(client);
    return client;
  }

  /** Chromium sees what `participant` publishes: frames a second, and when the first came. */
  async seen(room, participant, codec, label) {
    await untilConnected(this.server, room, participant, 15_000);
    const page = await this.chromium.bench(this.server.url);
    try {
      const first = await watch(page, room, participant);
      const { fps } = await assertPlays(page, `watch ${participant}`, { label, codec, minFps: 10, freezes: 2, sound: true });
      return `${Math.round(fps)} fps, ${Math.round(first.decodedMs)} ms`;
    } finally {
      await page.evaluate((name) => window.e2e.bye(name), `watch ${participant}`).catch(() => {});
      await page.close();
    }
  }

  /** A stack publishes, Chromium watches. */
  async publishes(stack, codec) {
    const room = `from-${stack.name}-${codec}`;
    const client = this.start(stack, "publish", `/whip/${room}?participant=it`, { codec });
    try {
      await client.until("it is connected", 15_000, ({ state }) => state === "connected");
      stack.srtp = client.now.srtp ?? agreed(this.server);
      const text = await this.seen(room, "it", codec, `${stack.name} ${codec} -> Chromium`);
      stack.told = client.now;
      return text;
    } finally {
      await client.stop();
    }
  }

  /** A stack watches a room in which somebody publishes already. */
  async watches(stack, path, codec) {
    const client = this.start(stack, "watch", path, codec ? { codec } : {});
    try {
      const look = ({ frames, keyFrames, moved, sound }) => frames > 45 && sound > 50 && (moved === undefined || moved > 0.3) && keyFrames !== undefined;
      const seen = await client.until("pictures and sound arrive", 20_000, look);
      stack.told ??= seen;
      return `${seen.frames} frames in ${seen.seconds.toFixed(0)} s`;
    } finally {
      await client.stop();
    }
  }

  /** A browser publishes in a room of its own; gives what ends that, its version and its SRTP profile. */
  async browserPublishes(browser, room, codec) {
    const page = await browser.bench(this.server.url);
    await page.evaluate((wanted) => window.e2e.publish(wanted), { room, participant: "anna", codec });
    await untilConnected(this.server, room, "anna", 15_000);
    const srtp = agreed(this.server);
    const version = await page.evaluate(() => /(?:Chrome|Firefox)\/(\d+)/.exec(navigator.userAgent)[1]);
    const end = async () => {
      await page.evaluate((name) => window.e2e.bye(name), "anna").catch(() => {});
      await page.close();
    };
    return { end, srtp, version };
  }

  /** A publisher and a viewer of one stack, left alone past the end of consent. Says of each whether it stayed. */
  async stays(stack) {
    const room = `stay-${stack.name}`;
    const codec = "VP8";
    const publisher = this.start(stack, "publish", `/whip/${room}?participant=it`, { codec });
    try {
      await publisher.until("it is connected", 20_000, ({ state }) => state === "connected");
      const viewer = this.start(stack, "watch", `/whep/${room}/it`, { codec });
      await viewer.until("pictures arrive", 20_000, ({ frames }) => frames > 10);
      await publisher.until("time to pass", 90_000, ({ seconds }) => seconds > STAY_S);
      const { frames } = viewer.now;
      await sleep(3_000);
      const listed = await this.server.participants(room);
      const published = listed.some(({ id, connected }) => id === "it" && connected);
      return [published, viewer.now.frames > frames + 15].map((stays) => (stays ? "stays" : "cut off"));
    } finally {
      await Promise.all(this.running.map((client) => (client.command.some((word) => word.includes(room)) ? client.stop() : null)));
    }
  }
}

async function published(trial) {
  const codecs = ["VP8", "H264", "VP9"];
  const rows = [];
  for (const stack of stacks) {
    const cells = [];
    for (const codec of codecs) cells.push(stack.publishes.includes(codec) ? await cell(`${stack.name} publishes ${codec}`, () => trial.publishes(stack, codec)) : "–");
    rows.push([stack.told?.client ?? stack.name, stack.told?.certificate ?? "–", short(stack.srtp), ...cells]);
  }
  const browsers = { Chromium: [trial.chromium, ["VP8", "H264", "VP9"]], Firefox: [trial.firefox, ["VP8", "VP9"]] };
  for (const [name, [browser, can]] of Object.entries(browsers)) {
    const cells = [];
    for (const codec of codecs) {
      const attempt = async () => {
        const room = `from-${name}-${codec}`;
        const { end, ...told } = await trial.browserPublishes(browser, room, codec);
        Object.assign(browser, { told });
        return trial.seen(room, "anna", codec, `${name} ${codec} -> Chromium`).finally(end);
      };
      cells.push(can.includes(codec) ? await cell(`${name} publishes ${codec}`, attempt) : "–");
    }
    rows.push([`${name} ${browser.told?.version ?? ""}`.trim(), "EC", short(browser.told?.srtp), ...cells]);
  }
  let srtp;
  const ffmpeg = await cell("ffmpeg publishes H264", async () => {
    const { stop } = startFfmpeg(`${trial.origin}/whip/from-ffmpeg?participant=it`);
    await untilConnected(trial.server, "from-ffmpeg", "it", 15_000);
    srtp = agreed(trial.server);
    return trial.seen("from-ffmpeg", "it", "H264", "ffmpeg H264 -> Chromium").finally(stop);
  });
  // ffmpeg's WHIP muxer makes a certificate of P-256.
  rows.push([`ffmpeg ${ffmpegVersion()}`, "EC", short(srtp), "–", ffmpeg, "–"]);
  return rows;
}

async function watched(trial) {
  const rows = stacks.map((stack) => [stack.told?.client ?? stack.name]);
  for (const [browser, name, codec] of [[trial.chromium, "Chromium", "VP8"], [trial.chromium, "Chromium", "H264"], [trial.firefox, "Firefox", "VP8"]]) {
    const room = `to-${name}-${codec}`;
    const { end } = await trial.browserPublishes(browser, room, codec);
    for (const [at, stack] of stacks.entries()) rows[at].push(await cell(`${stack.name} watches ${name}'s ${codec}`, () => trial.watches(stack, `/whep/${room}/anna`, codec)));
    await end();
  }
  const { stop } = startFfmpeg(`${trial.origin}/whip/to-ffmpeg?participant=it`, { seconds: 240 });
  await untilConnected(trial.server, "to-ffmpeg", "it", 15_000);
  for (const [at, stack] of stacks.entries()) rows[at].push(await cell(`${stack.name} watches ffmpeg's H264`, () => trial.watches(stack, "/whep/to-ffmpeg/it", "H264")));
  stop();
  for (const [at, stack] of stacks.entries()) rows[at].push(await cell(`${stack.name} watches the test card`, () => trial.watches(stack, "/whep/demo")));
  return rows;
}

async function main() {
  const missing = stacks.filter((stack) => !isBuilt(stack));
  if (missing.length > 0) throw new Error(`not built: ${missing.map(({ name }) => name).join(", ")}; run clients/setup.sh`);
  await makeClips(clips);
  const [server, chromium, firefox] = await Promise.all([Server.start({ args: ["log.level=debug", ...values.set].flatMap((one) => ["--set", one]) }), launchChromium(), launchFirefox()]);
  const trial = new Trial(server, chromium, firefox);
  try {
    if (!values.stay) {
      const from = await published(trial);
      const to = await watched(trial);
      console.log("\nPublished to the node, seen by Chromium (frames a second; time from its POST to its first frame):\n");
      table(["client", "its certificate", "SRTP", "VP8", "H.264", "VP9"], from);
      console.log("Watched from the node (frames that arrived whole):\n");
      table(["client", "Chromium, VP8", "Chromium, H.264", "Firefox, VP8", "ffmpeg, H.264", "test card, VP8"], to);
    }
    if (!values.quick) {
      const rest = await Promise.all(stacks.map(async (stack) => [stack.told?.client ?? stack.name, ...[await cell(`${stack.name} stays`, () => trial.stays(stack))].flat()]));
      console.log("Still there, past the end of consent:\n");
      table(["client", "publishes", "watches"], rest);
    }
  } finally {
    await Promise.all(trial.running.map((client) => client.stop()));
    await Promise.all([chromium.close(), firefox.close()]);
    await server.stop();
  }
  for (const note of notes) console.log(`- ${note.split("\n")[0]}`);
  process.exit(failures > 0 ? 1 : 0);
}

await main();
