// How long from the POST of a viewer's offer to the first decoded frame, in Chromium, watching the demo room's test card:
// ten viewers one after the other, printed as JSON. Usage: SFUMATO_BIN=target/release/sfumato node first-frame.mjs [RUNS]

import { launchChromium } from "./lib/browser.mjs";
import { watch } from "./lib/checks.mjs";
import { Server } from "./lib/server.mjs";
import { sleep, until } from "./lib/wait.mjs";

const runs = Number(process.argv[2] ?? 10);
const server = await Server.start();
const browser = await launchChromium();
try {
  const card = await until("the demo room has its test card", 5_000, async () => (await server.participants("demo"))[0]);
  const page = await browser.bench(server.url);
  const decoded = [];
  const answered = [];
  // The first one pays for what the browser loads once (codecs, the thread pools), and is not counted.
  for (let run = 0; run <= runs; run += 1) {
    const first = await watch(page, "demo", card.id, `run ${run}`);
    await page.evaluate((name) => window.e2e.bye(name), `run ${run}`);
    if (run > 0) {
      decoded.push(Math.round(first.decodedMs));
      answered.push(Math.round(first.answeredMs));
    }
    // Not in step with the key frames of the card.
    await sleep(300 + Math.random() * 500);
  }
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor((values.length - 1) / 2)];
  console.log(JSON.stringify({ runs, firstFrameMsMedian: median(decoded), firstFrameMs: decoded, answerMsMedian: median(answered) }));
} finally {
  await browser.close();
  await server.stop();
}
