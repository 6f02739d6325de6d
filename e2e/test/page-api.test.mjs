// The reference of the HTTP API: what it shows, and a request that it sends; by keyboard, on a phone, in dark and light.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { contrasts, nameless, small } from "../lib/access.mjs";
import { launchChromium } from "../lib/browser.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

/** Longest wait for anything: far more than it takes, since the machine may be busy. */
const LIMIT = 30_000;

const setAll = (open) => document.querySelectorAll("details.entry").forEach((details) => { details.open = open; });
const sideways = () => [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth && !element.closest(".scroll, pre, .visually-hidden, .sprite")).map((element) => `${element.tagName}.${element.className} ${element.textContent.slice(0, 40)}`);

describe("the reference of the HTTP API", { timeout: 200_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium({ args: ["--window-size=1280,800"] }) }));

  async function open(hash = "") {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/api.html${hash}`);
    await page.raw.waitForFunction(() => "ready" in document.body.dataset, null, { timeout: LIMIT });
    return page;
  }

  test("all of it can be read and reached, in dark and light, on a desktop and on a phone", { timeout: 120_000 }, async () => {
    const page = await open();
    const document_ = await (await fetch(`${cast.server.url}/v1/openapi.json`)).json();
    const operations = Object.values(document_.paths).flatMap((methods) => Object.keys(methods).filter((name) => name !== "parameters"));
    assert.equal(await page.evaluate(() => document.querySelectorAll("#operations details").length), operations.length);
    assert.equal(await page.evaluate(() => document.querySelectorAll("#schemas details").length), Object.keys(document_.components.schemas).length);
    for (const all of [false, true]) {
      await page.evaluate(setAll, all);
      await page.raw.waitForFunction((all) => !all || document.querySelectorAll("details.entry > .inside").length === document.querySelectorAll("details.entry").length, all, { timeout: LIMIT });
      for (const colorScheme of ["dark", "light"]) {
        await page.raw.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        for (const [width, height] of [[360, 740], [1280, 800]]) {
          await page.raw.setViewportSize({ width, height });
          const where = `${colorScheme}, ${width}x${height}, ${all ? "open" : "closed"}`;
          assert.deepEqual(await page.evaluate(nameless), [], `${where}: controls without a name`);
          assert.deepEqual(await page.evaluate(contrasts), [], `${where}: texts below 4.5:1`);
          assert.deepEqual(await page.evaluate(small), [], `${where}: targets below 44 px`);
          assert.deepEqual(await page.evaluate(sideways), [], `${where}: reaches over the edge`);
        }
      }
    }
    // Every link inside the page leads somewhere.
    const lost = await page.evaluate(() => [...document.querySelectorAll('a[href^="#"]')].map((a) => a.getAttribute("href").slice(1)).filter((id) => !document.getElementById(id)));
    assert.deepEqual(lost, []);
    assert.deepEqual(page.errors, []);
  });

  test("operations are found by words, opened by address, and tried by keyboard", { timeout: 60_000 }, async () => {
    const page = await open("#op-createRoom");
    assert.equal(await page.evaluate(() => document.activeElement.parentElement.id), "op-createRoom");
    await page.raw.focus("#find");
    await page.raw.keyboard.type("patch track");
    assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll("#operations details")].filter((one) => !one.hidden).map((one) => one.id)), ["op-muteTrack"]);
    assert.equal(await page.evaluate(() => document.getElementById("found").textContent), "1 operation");
    await page.raw.fill("#find", "");
    await page.raw.focus("#op-createRoom form.try button");
    await page.raw.keyboard.press("Enter");
    await page.raw.waitForFunction(() => document.querySelector("#op-createRoom .status").dataset.ok === "true", null, { timeout: LIMIT });
    assert.match(await page.evaluate(() => document.querySelector("#op-createRoom .status").textContent), /^201/);
    const room = await (await fetch(`${cast.server.url}/v1/rooms/standup`)).json();
    assert.equal(room.settings.members_max, 20);
    // A refusal is shown with what was wrong.
    await page.raw.fill("#op-createRoom textarea", '{"audible": 1}');
    await page.raw.focus("#op-createRoom form.try button");
    await page.raw.keyboard.press("Enter");
    await page.raw.waitForFunction(() => document.querySelector("#op-createRoom .status").dataset.ok === "false", null, { timeout: LIMIT });
    assert.match(await page.evaluate(() => document.querySelector("#op-createRoom .try pre").textContent), /unknown field `audible`/);
  });
});
