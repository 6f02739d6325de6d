// A node that asks for tokens: the page without one, with one that is wrong, and with a good one.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { describe, test } from "node:test";

import { launchChromium } from "../lib/browser.mjs";
import { nodeEnvironment, Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

const KEY = ["--set", "auth.keys=e2e=0123456789abcdef0123456789abcdef"];

function token(...args) {
  return execFileSync(path.resolve(process.env.SFUMATO_BIN), ["token", ...KEY, ...args], { encoding: "utf8", env: nodeEnvironment() }).trim();
}

describe("tokens", { timeout: 90_000 }, () => {
  const cast = stage(() => ({ server: Server.start({ mode: "serve", args: KEY }), chromium: launchChromium() }));
  const notice = () => document.getElementById("notices").textContent;

  test("without a token the page asks for one, and takes it", { timeout: 40_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=secret`);
    await page.waitFor("it asks for a token", 10_000, () => document.getElementById("notices").textContent.includes("A valid token is needed"));
    assert.equal(await page.evaluate(() => document.getElementById("token-field").hidden), false);
    await page.raw.fill("#token", token("--room", "secret", "--identity", "hugo", "--publish", "--subscribe"));
    await page.raw.press("#token", "Enter");
    await page.waitFor("it is let in", 10_000, () => document.getElementById("link").dataset.state === "up");
    assert.equal(await page.evaluate(notice), "");
    assert.deepEqual(await page.evaluate(() => [document.getElementById("name").value, document.getElementById("name").disabled]), ["hugo", true]);
    await page.close();
  });

  test("a token in the fragment publishes under its name, and leaves the address bar", { timeout: 40_000 }, async () => {
    const mine = token("--room", "secret", "--identity", "iris", "--publish", "--subscribe");
    const page = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=secret#token=${mine}`);
    await page.click("#start-camera");
    await page.waitFor("it sends", 15_000, () => document.getElementById("sending").textContent.includes("iris"));
    assert.equal(await page.evaluate(() => location.hash), "");
    const listed = await page.evaluate(async () => (await window.sfumato.api.participants("secret")).map(({ id }) => id));
    assert.deepEqual(listed, ["iris"]);
    await page.click("#stop");
    await page.waitFor("it left", 5_000, async () => (await window.sfumato.api.participants("secret")).length === 0);
    await page.close();
  });

  test("a nameless token publishes under a name that the node makes up", { timeout: 40_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=secret#token=${token("--room", "secret", "--publish", "--subscribe")}`);
    await page.waitFor("it is let in", 10_000, () => document.getElementById("link").dataset.state === "up");
    await page.click("#start-camera");
    await page.waitFor("it knows its name", 20_000, () => /^guest-/.test(window.sfumato.publisher?.participant ?? ""));
    assert.equal(await page.evaluate(() => window.sfumato.viewers.size), 0, "it does not watch itself");
    await page.close();
  });

  test("a token for another room, or without the right to send, is explained", { timeout: 40_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=secret#token=${token("--room", "other", "--publish", "--subscribe")}`);
    await page.waitFor("the wrong room is named", 10_000, () => document.getElementById("notices").textContent.includes("The token does not allow this"));
    await page.close();
    const watching = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=secret#token=${token("--room", "secret", "--identity", "jon", "--subscribe")}`);
    await watching.waitFor("it is let in", 10_000, () => document.getElementById("link").dataset.state === "up");
    await watching.click("#start-camera");
    await watching.waitFor("sending is refused", 10_000, () => document.getElementById("notices").textContent.includes("The token does not allow this"));
    await watching.close();
  });
});
