// What browsers and the node agree on: SRTP with AES-128-GCM, the cheapest profile that all of them have, for
// publishers and viewers: by the browsers' statistics, and by the node's log.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { launchChromium, launchFirefox } from "../lib/browser.mjs";
import { watch } from "../lib/checks.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

const EXPECTED = "SRTP_AEAD_AES_128_GCM";

describe("the cipher of media", { timeout: 120_000 }, () => {
  const cast = stage(() => ({ server: Server.start({ args: ["--set", "log.level=debug"] }), chromium: launchChromium(), firefox: launchFirefox() }));
  const pages = {};

  before(async () => {
    for (const [name, browser] of Object.entries(cast.browsers)) pages[name] = await browser.bench(cast.server.url);
  }, { timeout: 60_000 });

  const agreed = () => [...cast.server.log.matchAll(/keys agreed.*?profile"?[=:]\s*"?(\w+)|profile"?[=:]\s*"?(\w+).*?keys agreed/g)].map((found) => found[1] ?? found[2]);

  for (const name of ["chromium", "firefox"]) {
    test(`${name} publishes and watches with AES-128-GCM`, { timeout: 60_000 }, async () => {
      const page = pages[name];
      const before = agreed().length;
      await page.evaluate((wanted) => window.e2e.publish(wanted), { room: `cipher-${name}`, participant: "anna" });
      await watch(page, `cipher-${name}`, "anna");
      const stats = (what) => page.evaluate((wanted) => window.e2e.stats(wanted), what);
      const told = [(await stats("anna")).srtp, (await stats("watch anna")).srtp];
      const logged = agreed().slice(before);
      console.log(`${name}: statistics ${JSON.stringify(told)}, log ${JSON.stringify(logged)}`);
      assert.deepEqual(told, [EXPECTED, EXPECTED]);
      assert.deepEqual(logged, ["AeadAes128Gcm", "AeadAes128Gcm"], "one of the publisher, one of the viewer");
      for (const who of ["watch anna", "anna"]) await page.evaluate((wanted) => window.e2e.bye(wanted), who);
    });
  }
});
