// The page of WHIP and WHEP, used as people use it: look at the test card, turn the camera on, be seen, leave; and signalling by hand.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { launchChromium, launchFirefox } from "../lib/browser.mjs";
import { untilConnected, untilListed } from "../lib/checks.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

/** In the page: whether a participant's tile shows a moving picture with sound. */
const plays = (participant) => {
  const viewer = window.sfumato?.viewers.get(participant);
  const video = viewer?.tile.video;
  if (!video?.videoWidth || viewer.tile.element.dataset.veil !== "") return false;
  const canvas = document.createElement("canvas");
  canvas.width = 32;
  canvas.height = 18;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 32, 18);
  const data = [...context.getImageData(0, 0, 32, 18).data];
  const key = `seen ${participant}`;
  const before = window[key];
  window[key] = data;
  return before !== undefined && data.some((value, at) => Math.abs(value - before[at]) > 12);
};

const figures = (participant) =>
  [...document.querySelectorAll(`.tile[data-participant="${participant}"] .figures div`)].map((row) => row.textContent).join(", ");

describe("the page of WHIP and WHEP", { timeout: 150_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium(), firefox: launchFirefox() }));

  test("the test card is there before anyone turns on a camera", { timeout: 60_000 }, async () => {
    const [card] = await cast.server.participants("demo");
    assert.ok(card, "the demo room has a participant");
    for (const browser of Object.values(cast.browsers)) {
      const page = await browser.open(`${cast.server.url}/whip.html?room=demo`);
      await page.waitFor(`the test card (${card.id}) moves`, 15_000, plays, card.id);
      await page.waitFor("the figures are shown", 5_000, (id) => {
        const text = [...document.querySelectorAll(`.tile[data-participant="${id}"] .figures dd`)].map((one) => one.textContent);
        return text.some((one) => one.includes("640×360")) && text.some((one) => /bit\/s/.test(one));
      }, card.id);
      console.log(`test card in ${browser.name}: ${await page.evaluate(figures, card.id)}`);
      const sound = await page.evaluate(async (id) => {
        const all = [...(await window.sfumato.pc(id).getStats()).values()];
        return all.find((one) => one.type === "inbound-rtp" && one.kind === "audio")?.totalAudioEnergy ?? 0;
      }, card.id);
      assert.ok(sound > 0, `${browser.name}: the test card is heard`);
      assert.deepEqual(page.errors, [], `${browser.name}: errors in the page`);
      await page.close();
    }
  });

  test("a camera turned on in one browser is seen in the other, and gone after Stop", { timeout: 90_000 }, async () => {
    const first = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=demo`);
    const second = await cast.browsers.firefox.open(`${cast.server.url}/whip.html?room=demo`);
    await first.waitFor("the page is ready", 10_000, () => window.sfumato?.viewers.size > 0);
    await first.evaluate(() => {
      document.getElementById("name").value = "Léa M.";
    });
    await first.click("#start-camera");
    await first.waitFor("it says that it sends", 15_000, () => document.getElementById("sending").textContent.includes("Lea-M."));
    await second.waitFor("the other browser sees the camera", 20_000, plays, "Lea-M.");
    await first.waitFor("three layers are shown", 20_000, () => document.querySelectorAll(".tile .layers tbody tr").length === 3);
    console.log(`seen in firefox: ${await second.evaluate(figures, "Lea-M.")}`);
    console.log(`sent by chromium: ${await first.evaluate(figures, "Lea-M.")}`);

    await first.click("#toggle-camera");
    await second.waitFor("the other browser notes that the camera is off", 15_000, () => window.sfumato.viewers.get("Lea-M.").tile.element.dataset.veil === "The camera is off");
    await first.click("#toggle-camera");
    await second.waitFor("the picture comes back", 15_000, plays, "Lea-M.");

    await first.click("#stop");
    await untilListed(cast.server, "demo", "Lea-M.", false, 5_000);
    await second.waitFor("the tile is gone", 10_000, () => !window.sfumato.viewers.has("Lea-M."));
    assert.deepEqual([...first.errors, ...second.errors], [], "errors in the pages");
    await first.close();
    await second.close();
  });

  test("signalled by hand, an offer of this browser is answered and connects", { timeout: 60_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=by-hand`);
    const status = (text) => page.waitFor(`the status says ${text}`, 15_000, (wanted) => document.getElementById("hand-status").textContent.includes(wanted), text);
    await page.click("#hand summary");
    await page.click("#hand-send");
    await status("begins with v=0");
    await page.raw.fill("#hand-participant", "carrier");
    assert.equal(await page.evaluate(() => document.getElementById("hand-address").textContent), "POST /whip/by-hand?participant=carrier");
    for (const [face, room, participant] of [["whip", "by-hand", "carrier"], ["whep", "by-hand", "carrier"], ["session", "by-hand", "both"]]) {
      if (face === "whep") {
        // Somebody to watch: what the first pass published is gone with its session.
        await page.evaluate(() => document.getElementById("start-camera").click());
        await page.waitFor("the camera is sent", 20_000, () => window.sfumato.publisher?.keeper.session?.state === "connected");
        await page.raw.fill("#hand-participant", await page.evaluate(() => window.sfumato.publisher.participant));
      } else await page.raw.fill("#hand-participant", participant);
      await page.raw.selectOption("#hand-face", face);
      await page.click("#hand-make");
      await page.waitFor(`${face}: the offer is there`, 10_000, () => document.getElementById("hand-offer").value.startsWith("v=0"));
      await page.click("#hand-send");
      await status("201 Created");
      assert.match(await page.evaluate(() => document.getElementById("hand-answer").value), /^v=0[^]*a=ice-ufrag:/, `${face}: an answer in ${room}`);
      await page.click("#hand-apply");
      await status("Connection: connected");
      if (face === "whep") await page.waitFor("the picture is received", 15_000, () => document.getElementById("hand-video").videoWidth > 0);
      await page.click("#hand-delete");
      await status("The session is deleted");
    }
    assert.deepEqual(page.errors, []);
    await page.close();
  });

  test("a page that is closed says goodbye", { timeout: 30_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/whip.html?room=leaving`);
    await page.waitFor("the page is ready", 10_000, () => !document.getElementById("empty").hidden);
    await page.evaluate(() => {
      document.getElementById("name").value = "brief";
    });
    await page.click("#start-camera");
    await untilConnected(cast.server, "leaving", "brief", 10_000);
    const began = Date.now();
    await page.raw.goto("about:blank");
    await untilListed(cast.server, "leaving", "brief", false, 5_000);
    console.log(`gone ${Date.now() - began} ms after the page was left`);
    await page.close();
  });
});
