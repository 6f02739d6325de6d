// The meeting page when something is not as it should be: no token, no device, no sound before a click, no server, another
// passphrase. Each is said in words, with what to do.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { describe, test } from "node:test";

import { launchChromium, launchFirefox } from "../lib/browser.mjs";
import { moves } from "../lib/meeting.mjs";
import { nodeEnvironment, Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

const KEY = ["--set", "auth.keys=e2e=0123456789abcdef0123456789abcdef"];

function token(...args) {
  return execFileSync(path.resolve(process.env.SFUMATO_BIN), ["token", ...KEY, ...args], { encoding: "utf8", env: nodeEnvironment() }).trim();
}

const notices = (text) => document.getElementById("notices").textContent.includes(text);
const inCall = () => window.sfumato.state.phase === "call" && window.sfumato.state.link === "connected";

/** Opens the lobby of a room with the devices off, and joins. */
async function join(browser, url, { name, passphrase = "" }) {
  const page = await browser.open(url);
  await page.waitFor("the lobby is shown", LIMIT, () => !document.getElementById("lobby").hidden);
  await page.evaluate(
    ([wanted, secret]) => {
      document.getElementById("name").value = wanted;
      if (secret) document.getElementById("passphrase").value = secret;
    },
    [name, passphrase],
  );
  await page.waitFor("the preview plays", LIMIT, () => document.getElementById("preview-video").videoWidth > 0);
  await page.evaluate(() => document.getElementById("join").click());
  await page.waitFor("the call is joined", LIMIT, inCall);
  return page;
}

/** Longest wait for anything: far more than it takes, since the machine may be busy. */
const LIMIT = 30_000;

describe("the meeting page with tokens", { timeout: 400_000 }, () => {
  const cast = stage(() => ({ server: Server.start({ mode: "serve", args: KEY }), chromium: launchChromium() }));

  test("without a token it asks for one; with a wrong one it says why; with a good one it joins by the name in it", { timeout: 120_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/?room=secret`);
    await page.waitFor("the lobby asks for a token", LIMIT, () => !document.getElementById("lobby").hidden && !document.getElementById("token-field").hidden);
    await page.click("#join");
    await page.waitFor("it says that a token is needed", LIMIT, notices, "A valid token is needed");
    await page.waitFor("the preview is back", LIMIT, () => document.getElementById("preview-video").videoWidth > 0 && !document.getElementById("preview-video").hidden);
    await page.raw.fill("#token", token("--room", "other", "--identity", "mia", "--publish", "--subscribe"));
    await page.click("#join");
    await page.waitFor("the wrong room is named", LIMIT, notices, "The token does not allow this");
    const mine = token("--room", "secret", "--identity", "mia", "--publish", "--subscribe");
    await page.raw.fill("#token", mine);
    await page.click("#join");
    await page.waitFor("it is let in", LIMIT, inCall);
    assert.equal(await page.evaluate(() => window.sfumato.state.room.me.identity), "mia");
    assert.deepEqual(page.errors, []);
    await page.close();
  });

  test("a token in the fragment leaves the address bar, and is not in the link that is shared", { timeout: 120_000 }, async () => {
    const mine = token("--room", "secret", "--identity", "noa", "--subscribe");
    const page = await cast.browsers.chromium.open(`${cast.server.url}/?room=secret#token=${mine}&key=hush`);
    assert.equal(await page.evaluate(() => location.hash), "");
    await page.waitFor("the lobby is shown", LIMIT, () => !document.getElementById("lobby").hidden);
    assert.equal(await page.evaluate(() => document.getElementById("passphrase").value), "hush");
    await page.click("#join");
    await page.waitFor("it is let in", LIMIT, inCall);
    await page.waitFor("it says that she may not send", LIMIT, notices, "You may not send with the");
    assert.deepEqual(await page.evaluate(() => ["mic", "cam"].map((id) => document.getElementById(id).disabled)), [true, true]);
    assert.equal(await page.evaluate(() => document.getElementById("e2ee-mark").hidden), false, "encryption is shown");
    await page.raw.keyboard.press("l");
    const link = () => document.getElementById("share-link").value;
    assert.equal(await page.evaluate(link), `${cast.server.url}/?room=secret`);
    await page.click("#share-key");
    assert.equal(await page.evaluate(link), `${cast.server.url}/?room=secret#key=hush`);
    assert.deepEqual(page.errors, []);
    await page.close();
  });
});

describe("the meeting page in trouble", { timeout: 400_000 }, () => {
  const cast = stage(() => ({
    server: Server.start(),
    chromium: launchChromium(),
    strict: launchChromium({ args: ["--autoplay-policy=document-user-activation-required"] }),
    firefox: launchFirefox(),
  }));

  test("a browser that holds the sound back shows a button, which turns it on", { timeout: 120_000 }, async () => {
    const page = await cast.browsers.strict.open("about:blank");
    // Every question that a test asks of a page counts as something that the user did. So the page says by itself that the button is there.
    await page.raw.addInitScript(() => {
      const timer = setInterval(() => {
        const button = document.getElementById("unmute-page");
        if (!button || button.hidden) return;
        clearInterval(timer);
        console.log("the button is shown");
      }, 100);
    });
    const shown = page.raw.waitForEvent("console", { predicate: (message) => message.text() === "the button is shown", timeout: 30_000 });
    await page.raw.goto(`${cast.server.url}/?room=demo`);
    await shown;
    await page.waitFor("the picture plays all the same", LIMIT, () => [...document.querySelectorAll(".tile video")].some((video) => video.videoWidth > 0 && !video.paused));
    await page.click("#unmute-page");
    await page.waitFor("the sound is on", LIMIT, () => document.getElementById("unmute-page").hidden && !window.sfumato.state.room.audioBlocked);
    assert.deepEqual(page.errors, []);
    await page.close();
  });

  test("Firefox plays the demo room", { timeout: 120_000 }, async () => {
    const page = await cast.browsers.firefox.open(`${cast.server.url}/?room=demo`);
    await page.waitFor("the test picture moves", LIMIT, moves, "test-card");
    assert.deepEqual(page.errors, []);
    await page.close();
  });

  test("a camera without permission is explained, and one joins without it", { timeout: 120_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/?room=shy`);
    await page.waitFor("the lobby is shown", LIMIT, () => !document.getElementById("lobby").hidden);
    // The browser's fake devices are always allowed; a refusal has to be played.
    await page.evaluate(() => {
      navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException("denied", "NotAllowedError");
      };
    });
    const isOn = () => document.getElementById("lobby-camera").getAttribute("aria-pressed") === "true";
    await page.waitFor("the lobby has the camera, or was refused", LIMIT, () => document.getElementById("lobby-camera").getAttribute("aria-pressed") === "true" || document.getElementById("notices").textContent.includes("No permission for the camera"));
    if (await page.evaluate(isOn)) {
      // It was faster than the refusal: off, and on again.
      await page.click("#lobby-camera");
      await page.click("#lobby-camera");
    }
    await page.waitFor("it is explained", LIMIT, notices, "No permission for the camera");
    await page.click("#join");
    await page.waitFor("she is in", LIMIT, inCall);
    await page.raw.keyboard.press("v");
    await page.waitFor("it is explained again", LIMIT, notices, "No permission for the camera");
    assert.equal(await page.evaluate(() => document.getElementById("cam").getAttribute("aria-pressed")), "true", "the camera stays off");
    await page.close();
  });

  test("who has the passphrase is seen, who has another one is named, and the same one mends it", { timeout: 120_000 }, async () => {
    const url = `${cast.server.url}/?room=sealed`;
    const olga = await join(cast.browsers.chromium, url, { name: "Olga", passphrase: "one secret" });
    const piet = await join(cast.browsers.chromium, url, { name: "Piet", passphrase: "another secret" });
    for (const [page, other] of [[olga, "Piet"], [piet, "Olga"]]) {
      await page.waitFor(`${other}'s other passphrase is told`, LIMIT, (name) => document.getElementById("notices").textContent.includes(`${name} cannot be seen or heard`), other);
    }
    await piet.click("#more");
    await piet.click("#open-settings");
    await piet.raw.fill("#set-passphrase", "one secret");
    await piet.raw.press("#set-passphrase", "Enter");
    for (const [page, other] of [[olga, "Piet"], [piet, "Olga"]]) {
      await page.waitFor(`${other} is seen`, LIMIT, (name) => {
        const tile = [...document.querySelectorAll(".tile")].find((one) => one.querySelector(".name")?.textContent === name);
        return tile?.querySelector("video").videoWidth > 0 && tile.querySelector(".words").hidden && !document.getElementById("notices").textContent.includes("cannot be seen");
      }, other);
    }
    assert.deepEqual([...olga.errors, ...piet.errors], []);
    await olga.close();
    await piet.close();
  });

  test("whoever runs the room mutes and removes from the list of people", { timeout: 120_000 }, async () => {
    const url = `${cast.server.url}/?room=hosted`;
    const tara = await join(cast.browsers.chromium, url, { name: "Tara" });
    const ugo = await join(cast.browsers.chromium, url, { name: "Ugo" });
    await ugo.waitFor("the microphone is on", LIMIT, () => document.getElementById("mic").getAttribute("aria-pressed") === "false");
    await tara.raw.keyboard.press("p");
    const act = (text) => tara.raw.getByRole("button", { name: `${text}: Ugo`, exact: true }).click();
    await act("Mute");
    await ugo.waitFor("he is told, and his microphone is off", LIMIT, () => document.getElementById("notices").textContent.includes("You were muted") && document.getElementById("mic").getAttribute("aria-pressed") === "true");
    await ugo.raw.keyboard.press("m");
    await tara.waitFor("he can unmute himself", LIMIT, () => [...document.querySelectorAll(".person")].some((one) => one.textContent.includes("Ugo") && one.textContent.includes("microphone on")));
    await act("Remove");
    await tara.click("#ask-yes");
    await ugo.waitFor("he is told that he was removed", LIMIT, () => document.getElementById("over-title").textContent === "You were removed from the room");
    await tara.waitFor("he is gone", LIMIT, () => ![...document.querySelectorAll(".tile .name")].some((name) => name.textContent === "Ugo"));
    assert.deepEqual([...tara.errors, ...ugo.errors], []);
    await tara.close();
    await ugo.close();
  });

  test("a member whose connection is lost is marked, and kept for a while", { timeout: 120_000 }, async () => {
    const url = `${cast.server.url}/?room=torn`;
    const page = await join(cast.browsers.chromium, url, { name: "Rosa" });
    await join(cast.browsers.strict, url, { name: "Sven" });
    await page.waitFor("Sven is seen", LIMIT, moves, "Sven");
    // No goodbye: as when a computer loses its power.
    await cast.browsers.strict.kill();
    await page.waitFor("he is marked", 2 * LIMIT, () => [...document.querySelectorAll(".tile")].some((tile) => tile.querySelector(".name").textContent === "Sven" && tile.querySelector(".words").textContent === "Reconnecting…"));
    await page.close();
  });

  // The last one: the node does not come back.
  test("when the server is gone the page says so, and goes on trying", { timeout: 120_000 }, async () => {
    const page = await join(cast.browsers.chromium, `${cast.server.url}/?room=lonely`, { name: "Quin" });
    await cast.server.stop();
    await page.waitFor("the interruption is told", LIMIT, notices, "The connection is interrupted");
    assert.equal(await page.evaluate(() => document.getElementById("link-text").textContent), "Reconnecting…");
    assert.deepEqual(page.errors, []);
    await page.close();
  });
});
