// How long from `join` to the first decoded frame, in Chromium, for a member of the demo room, where the test card is: ten times one
// after the other, printed as JSON. Usage: SFUMATO_BIN=target/release/sfumato node room-first-frame.mjs [RUNS]

import { launchChromium } from "./lib/browser.mjs";
import { Member, median } from "./lib/member.mjs";
import { Server } from "./lib/server.mjs";
import { sleep, until } from "./lib/wait.mjs";

const runs = Number(process.argv[2] ?? 10);
const server = await Server.start();
const browser = await launchChromium();
try {
  await until("the demo room has its test card", 5_000, async () => (await server.participants("demo")).length > 0);
  const member = await Member.open(browser, server.url, "ann");
  const joined = [];
  const decoded = [];
  // The first one pays for what the browser loads once (codecs, the thread pools, the modules), and is not counted.
  for (let run = 0; run <= runs; run += 1) {
    const times = await member.call("joinTimed", { url: `${server.url}/v1/rooms/demo`, colour: "red", frequency: 300, options: { identity: `ann-${run}` } });
    await member.call("leave");
    if (run > 0) {
      joined.push(times.joinedMs);
      decoded.push(times.firstFrameMs);
    }
    // Not in step with the key frames of the card.
    await sleep(300 + Math.random() * 500);
  }
  console.log(JSON.stringify({ runs, firstFrameMsMedian: median(decoded), firstFrameMs: decoded, joinedMsMedian: median(joined), joinedMs: joined }));
} finally {
  await browser.close();
  await server.stop();
}
