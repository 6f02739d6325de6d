// What "it plays" means: frames are decoded at a fair rate, the picture is there and moves, the sound has energy.

import assert from "node:assert/strict";

import { sleep, until } from "./wait.mjs";

/** Mean difference of two pictures' pixels, 0 to 255. */
export function difference(a, b) {
  return a.data.reduce((sum, value, at) => sum + Math.abs(value - b.data[at]), 0) / a.data.length;
}

/** Starts watching and waits for the first frame. */
export async function watch(page, room, participant, name = `watch ${participant}`) {
  await page.evaluate((wanted) => window.e2e.watch(wanted), { room, participant, name });
  return page.evaluate((wanted) => window.e2e.firstFrame(wanted), name);
}

/**
 * Watches for `seconds` and checks; gives the figures, and prints them. A machine that is shared may starve a browser for
 * a moment: what is too slow once is measured again, and has to hold then.
 * `freezes`: how many are forgiven; browsers count a pause of the sender's encoder at the start as one.
 */
export async function assertPlays(page, name, options = {}) {
  const { minFps = 8, freezes = 1, maxDelayMs = 400 } = options;
  const first = await measure(page, name, options);
  if (first.fps >= minFps && first.freezes <= freezes && (first.delayMs ?? 0) < maxDelayMs) return first;
  const figures = await measure(page, name, { ...options, label: `${options.label}, again` });
  assert.ok(figures.fps >= minFps, `${options.label}: ${figures.fps} frames a second decoded, at least ${minFps} expected`);
  assert.ok(figures.freezes <= freezes, `${options.label}: ${figures.freezes} freezes`);
  assert.ok(figures.delayMs === null || figures.delayMs < maxDelayMs, `${options.label}: ${figures.delayMs} ms in the jitter buffer`);
  return figures;
}

async function measure(page, name, { label, codec, seconds = 3, sound = true }) {
  const look = (what) => page.evaluate((wanted) => window.e2e.stats(wanted), what);
  await until(`${label}: frames${sound ? " and sound" : ""} arrive`, 10_000, async () => {
    const now = await look(name);
    return now.video?.framesDecoded > 0 && (!sound || now.audio?.energy > 0);
  });
  const before = await look(name);
  const picture = await page.evaluate((wanted) => window.e2e.pixels(wanted), name);
  let moved = 0;
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    await sleep(250);
    moved = Math.max(moved, difference(picture, await page.evaluate((wanted) => window.e2e.pixels(wanted), name)));
  }
  const after = await look(name);
  const elapsed = (after.at - before.at) / 1000;
  const fps = (after.video.framesDecoded - before.video.framesDecoded) / elapsed;
  const emitted = after.video.emitted - before.video.emitted;
  const delayMs = emitted > 0 ? ((after.video.jitterBufferDelay - before.video.jitterBufferDelay) / emitted) * 1000 : null;
  const froze = (after.video.freezes ?? 0) - (before.video.freezes ?? 0);
  const figures = {
    codec: after.video.codec,
    size: `${after.video.width}x${after.video.height}`,
    fps: Number(fps.toFixed(1)),
    delayMs: delayMs === null ? null : Math.round(delayMs),
    freezes: froze,
    lost: after.video.lost - before.video.lost,
    retransmitted: after.video.retransmitted,
    moved: Number(moved.toFixed(1)),
    energy: after.audio ? Number((after.audio.energy - before.audio.energy).toPrecision(3)) : null,
    audio: after.audio?.codec ?? null,
    srtp: after.srtp,
  };
  console.log(`${label}: ${JSON.stringify(figures)}`);
  if (codec) assert.equal(after.video.codec.toUpperCase(), codec.toUpperCase(), `${label}: codec`);
  assert.ok(picture.width > 0 && picture.mean > 4 && picture.mean < 251, `${label}: the picture is blank (mean ${picture.mean})`);
  assert.ok(moved > 0.3, `${label}: the picture does not change`);
  if (sound) {
    assert.equal(after.audio.codec.toLowerCase(), "opus", `${label}: audio codec`);
    assert.ok(after.audio.energy > before.audio.energy, `${label}: the sound has no energy`);
  }
  return figures;
}

/** Until a participant's media are connected: its page has the answer, and knows the session that it has to end. */
export function untilConnected(server, room, participant, limit) {
  return until(`${participant} is connected in ${room}`, limit, async () =>
    (await server.participants(room)).some(({ id, connected }) => id === participant && connected),
  );
}

/** Until a participant is in the room's list (from the moment its offer is accepted), or is not. */
export function untilListed(server, room, participant, listed, limit) {
  return until(`${participant} is ${listed ? "" : "not "}listed in ${room}`, limit, async () => {
    const here = (await server.participants(room)).some(({ id }) => id === participant);
    return here === listed;
  });
}
