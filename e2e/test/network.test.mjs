// Bad networks, made with nftables in a network namespace: one datagram in twenty lost both ways; UDP cut off for a
// while; UDP blocked from the start.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { launchChromium } from "../lib/browser.mjs";
import { watch } from "../lib/checks.mjs";
import { Namespace } from "../lib/netns.mjs";
import { Server } from "../lib/server.mjs";
import { sleep } from "../lib/wait.mjs";

const PERCENT = 5;
const SECONDS = 20;

describe("bad networks", { timeout: 180_000 }, () => {
  let namespace;
  let server;
  let browser;

  before(async () => {
    namespace = await Namespace.create();
    server = await Server.start({ netns: namespace.name, mediaAddress: namespace.address });
    browser = await launchChromium({ netns: namespace.name });
  }, { timeout: 60_000 });

  after(async () => {
    await browser?.close();
    await server?.stop();
    await namespace?.remove();
  }, { timeout: 30_000 });

  test("5 % loss: frames flow, retransmissions repair, freezes are few", { timeout: 90_000 }, async () => {
    const page = await browser.bench(server.url);
    await page.evaluate((wanted) => window.e2e.publish(wanted), { room: "loss", participant: "finn" });
    await watch(page, "loss", "finn");
    await sleep(2_000);
    await namespace.lose(PERCENT, server.mediaPort);
    await sleep(1_000);
    const look = () => page.evaluate(() => window.e2e.stats("watch finn"));
    const before = await look();
    await sleep(SECONDS * 1000);
    const now = await look();
    const { sent } = await page.evaluate(() => window.e2e.stats("finn"));
    const { seen, lost } = await namespace.counters();
    const published = sent.find(({ kind }) => kind === "video");
    const fps = (now.video.framesDecoded - before.video.framesDecoded) / ((now.at - before.at) / 1000);
    const freezes = now.video.freezes - before.video.freezes;
    const frozen = now.video.freezeSeconds - before.video.freezeSeconds;
    console.log(
      `${PERCENT} % loss for ${SECONDS} s: ${JSON.stringify({
        datagrams: seen, dropped: lost, fps: Number(fps.toFixed(1)), freezes, frozenSeconds: Number(frozen.toFixed(2)),
        lostAtFirst: now.video.lost - before.video.lost, packets: now.video.packets - before.video.packets,
        retransmittedToViewer: now.video.retransmitted, nacksOfViewer: now.video.nacks, plisOfViewer: now.video.plis,
        nacksOfServer: published.nacks, retransmittedByPublisher: published.retransmitted, keyFramesSent: published.keyFrames,
      })}`,
    );
    assert.ok(lost > 50, `the rule dropped ${lost} datagrams`);
    assert.ok(fps > 15, `${fps.toFixed(1)} frames a second`);
    assert.ok(published.nacks > 0, "the server asked the publisher again");
    assert.ok(now.video.nacks > 0, "the viewer asked the server again");
    assert.ok(now.video.retransmitted === null || now.video.retransmitted > 0, "the server sent again");
    assert.ok(freezes <= 6 && frozen < SECONDS / 5, `${freezes} freezes, ${frozen.toFixed(1)} s`);
    await namespace.mend("loss");
    await page.close();
  });

  test("UDP is cut for 10 s: the page restarts ICE, and the same session plays on", { timeout: 60_000 }, async () => {
    const page = await browser.open(`${server.url}/whip.html?room=demo`);
    const [card] = await server.participants("demo");
    const state = (id) => {
      const { session } = window.sfumato.viewers.get(id)?.keeper ?? {};
      return session && { state: session.state, url: session.url, etag: session.etag };
    };
    await page.waitFor("the test card plays", 15_000, (id) => window.sfumato?.viewers.get(id)?.tile.element.dataset.veil === "", card.id);
    const before = await page.evaluate(state, card.id);
    await namespace.cut(server.mediaPort);
    await page.waitFor("the page notes the interruption", 15_000, (id) => window.sfumato.viewers.get(id).keeper.session.state === "recovering", card.id);
    await sleep(4_000);
    await namespace.mend("cut");
    const began = Date.now();
    await page.waitFor("the test card plays again", 20_000, (id) => window.sfumato.viewers.get(id).tile.element.dataset.veil === "" && window.sfumato.viewers.get(id).keeper.session.state === "connected", card.id);
    const now = await page.evaluate(state, card.id);
    console.log(`after the cut: playing ${Date.now() - began} ms after UDP came back, entity tag ${before.etag} -> ${now.etag}`);
    assert.equal(now.url, before.url, "the session is the same");
    assert.notEqual(now.etag, before.etag, "ICE was restarted");
    await page.close();
  });

  test("UDP is blocked from the start: the page says so", { timeout: 45_000 }, async () => {
    await namespace.cut(server.mediaPort);
    const page = await browser.open(`${server.url}/whip.html?room=demo`);
    await page.waitFor("the tile says that UDP does not get through", 25_000, () => document.querySelector(".tile .veil-text")?.textContent.includes("No way for picture and sound"));
    await page.close();
    await namespace.mend("cut");
  });
});
