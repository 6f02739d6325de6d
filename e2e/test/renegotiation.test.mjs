// A live session gets other media sections by PATCH with a whole offer: a viewer asks for more, a publisher adds a second picture,
// pauses it and gives it up. What stays keeps its SSRC, loses nothing and does not stutter.

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { launchChromium, launchFirefox } from "../lib/browser.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";
import { sleep, until } from "../lib/wait.mjs";

/** Longest time without a new frame, and most that a browser may count as frozen. */
const MOST_STILL_MS = 500;
/** How long is looked before a change, and after it. */
const MARGIN_MS = 1_500;
/** Cameras are wide, the second picture is not: the shapes tell them apart, whatever an encoder scales them to. */
const WIDE = { width: 640, height: 360 };
const NARROW = { width: 320, height: 240 };

const call = (page, name, ...args) => page.evaluate(([wanted, given]) => window.e2e[wanted](...given), [name, args]);

describe("a live session is renegotiated", { timeout: 240_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium(), firefox: launchFirefox() }));
  const pages = {};

  before(async () => {
    for (const [name, browser] of Object.entries(cast.browsers)) pages[name] = await browser.bench(cast.server.url);
  }, { timeout: 60_000 });

  /** Until a section shows a picture of this shape. */
  const untilShown = (page, name, mid, shape) =>
    until(`${page.browser.name}: section ${mid} of ${name} shows ${shape.width}x${shape.height}`, 15_000, async () => {
      const now = await call(page, "section", { name, mid });
      return now?.frames > 5 && Math.abs(now.width / now.height - shape.width / shape.height) < 0.05 ? now : null;
    });

  /** Does something to a session while sections of a viewer that are to stay are watched, and checks that they did. */
  async function whileWatching(page, name, label, change) {
    await call(page, "beginSampling", { name, mids: ["0", "1"] });
    let samples;
    let answer;
    try {
      await sleep(MARGIN_MS);
      answer = await change();
      await sleep(MARGIN_MS);
    } finally {
      samples = await call(page, "endSampling", name);
    }
    console.log(`${label}: answer ${JSON.stringify(answer)}`);
    assert.match(answer.contentType, /^application\/sdp/, `${label}: the answer is a description`);
    assert.ok(answer.iceStays, `${label}: ICE does not begin anew`);
    const [sound, picture] = [samples["0"], samples["1"]].map(summary);
    console.log(`${label}: picture ${JSON.stringify(picture)}, sound ${JSON.stringify(sound)}`);
    for (const [kind, seen] of [["picture", picture], ["sound", sound]]) {
      assert.equal(seen.ssrcs, 1, `${label}: the ${kind} keeps its SSRC`);
      assert.equal(seen.lost, 0, `${label}: packets of the ${kind} that were lost`);
      assert.ok(seen.packets > 0, `${label}: packets of the ${kind}`);
    }
    assert.ok(picture.longestStillMs <= MOST_STILL_MS, `${label}: no new frame for ${picture.longestStillMs} ms`);
    assert.ok((picture.frozenMs ?? 0) <= MOST_STILL_MS, `${label}: ${picture.frozenMs} ms frozen by the browser's count`);
    return answer;
  }

  for (const browser of ["chromium", "firefox"]) {
    const other = browser === "chromium" ? "firefox" : "chromium";

    test(`a viewer in ${browser} asks for more sections`, { timeout: 90_000 }, async () => {
      const [viewer, publisher] = [pages[browser], pages.chromium];
      const [room, name] = [`more-${browser}`, `viewer-${browser}`];
      await call(publisher, "publish", { room, participant: "anna", ...WIDE });
      await call(viewer, "watchRoom", { room, name });
      await untilShown(viewer, name, "1", WIDE);
      await call(publisher, "publish", { room, participant: "bert", ...NARROW });
      try {
        await sleep(1_500);
        const answer = await whileWatching(viewer, name, `${browser} adds two sections`, () => call(viewer, "addSections", { name, audio: 1, video: 1 }));
        assert.deepEqual(answer.sections, [["0", "recvonly"], ["1", "recvonly"], ["2", "recvonly"], ["3", "recvonly"]]);
        const second = await untilShown(viewer, name, "3", NARROW);
        const first = await untilShown(viewer, name, "1", WIDE);
        assert.notEqual(first.ssrc, second.ssrc);
        assert.ok((await call(viewer, "section", { name, mid: "2" })).packets > 0, "the second participant is heard");
        await untilMoving(viewer, name, "1");
        await untilMoving(viewer, name, "3");
      } finally {
        for (const [page, who] of [[viewer, name], [publisher, "bert"], [publisher, "anna"]]) await call(page, "bye", who);
      }
    });

    test(`a publisher in ${browser} adds a second picture, pauses it and gives it up`, { timeout: 120_000 }, async () => {
      const [publisher, viewer] = [pages[browser], pages[other]];
      const [room, participant, name] = [`screen-${browser}`, `publisher-${browser}`, `viewer-${other}`];
      const tracks = async () => (await cast.server.participants(room))[0].tracks.map(({ kind }) => kind).sort();
      await call(publisher, "publish", { room, participant, ...WIDE });
      await call(viewer, "watchRoom", { room, name, audio: 1, video: 2 });
      const during = (label, change) => whileWatching(viewer, name, `${browser} ${label}`, change);
      const turn = (direction) => call(publisher, "turnScreen", { name: participant, direction });
      const untilStill = () =>
        until(`${other}: section 2 gets no more packets`, 5_000, async () => {
          const before = await call(viewer, "section", { name, mid: "2" });
          await sleep(500);
          return (await call(viewer, "section", { name, mid: "2" })).packets === before.packets;
        });
      try {
        await untilShown(viewer, name, "1", WIDE);
        // Encoders begin with few bits, and the sender's estimate has to be there for two pictures.
        await sleep(2_000);
        const added = await during("adds a second picture", () => call(publisher, "addScreen", { name: participant, ...NARROW }));
        assert.deepEqual(added.sections, [["0", "sendonly"], ["1", "sendonly"], ["2", "sendonly"]]);
        await untilShown(viewer, name, "2", NARROW);
        await untilGreen(viewer, name, "2");
        assert.deepEqual(await tracks(), ["audio", "video", "video"]);

        const paused = await during("pauses the second picture", () => turn("inactive"));
        assert.deepEqual(paused.sections[2], ["2", "inactive"]);
        await untilStill();
        assert.deepEqual(await tracks(), ["audio", "video"]);

        await during("sends the second picture again", () => turn("sendonly"));
        const { frames } = await call(viewer, "section", { name, mid: "2" });
        await viewer.waitFor("the second picture is back", 10_000, async ([wanted, least]) => (await window.e2e.section(wanted)).frames > least + 5, [{ name, mid: "2" }, frames]);
        await untilGreen(viewer, name, "2");
        assert.deepEqual(await tracks(), ["audio", "video", "video"]);

        await during("gives the second picture up", () => turn("stopped"));
        await untilStill();
        assert.deepEqual(await tracks(), ["audio", "video"]);
        await untilShown(viewer, name, "1", WIDE);
        await untilMoving(viewer, name, "1");
      } finally {
        for (const [page, who] of [[viewer, name], [publisher, participant]]) await call(page, "bye", who);
      }
      assert.deepEqual(await cast.server.participants(room), [], "the room is empty after DELETE");
    });
  }
});

/** Of the samples of a section: what it got, and the longest time for which its count of decoded frames stood still. */
function summary(samples) {
  assert.ok(samples.length > 10, `${samples.length} samples of a section that is to play`);
  const [first, last] = [samples[0], samples.at(-1)];
  let [fresh, frames, longest, longestPause] = [first.at, first.frames, 0, 0];
  samples.forEach((sample, at) => {
    if (at > 0) longestPause = Math.max(longestPause, sample.at - samples[at - 1].at);
    // The time up to this sample counts also where a frame came just before it: the measure is too strict by one step.
    longest = Math.max(longest, sample.at - fresh);
    if (sample.frames !== frames) [fresh, frames] = [sample.at, sample.frames];
  });
  // Browsers differ in what they count.
  const since = (key) => (first[key] === null || last[key] === null ? null : last[key] - first[key]);
  const frozen = since("freezeSeconds");
  return {
    seconds: Number(((last.at - first.at) / 1000).toFixed(1)),
    ssrcs: new Set(samples.map(({ ssrc }) => ssrc)).size,
    packets: since("packets"),
    lost: since("lost"),
    frames: since("frames"),
    keyFrames: since("keyFrames"),
    longestStillMs: first.frames === null ? null : Math.round(longest),
    freezes: since("freezes"),
    frozenMs: frozen === null ? null : Math.round(frozen * 1000),
    plis: since("plis"),
    concealed: since("concealed"),
    samples: since("samples"),
    longestStepMs: Math.round(longestPause),
  };
}

/** Until two pictures of a section differ. */
async function untilMoving(page, name, mid) {
  const { data } = await call(page, "pixels", name, mid);
  await until(`${page.browser.name}: section ${mid} of ${name} moves`, 5_000, async () => {
    const now = await call(page, "pixels", name, mid);
    return now.data.reduce((sum, value, at) => sum + Math.abs(value - data[at]), 0) / data.length > 0.3;
  });
}

/** Until a section shows the canvas: by far the most of it is green. */
function untilGreen(page, name, mid) {
  return until(`${page.browser.name}: section ${mid} of ${name} is green`, 5_000, async () => {
    const { data } = await call(page, "pixels", name, mid);
    let green = 0;
    for (let at = 0; at < data.length; at += 3) green += data[at] < 60 && data[at + 1] > 110 && data[at + 2] < 60 ? 1 : 0;
    return green > (data.length / 3) * 0.6;
  });
}
