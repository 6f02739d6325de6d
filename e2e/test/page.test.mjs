// The meeting page, used as people use it: through the lobby into a call of two, who see, hear and write to each other; by
// keyboard, on a phone, in dark and light.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import jsQR from "jsqr";

import { contrasts, nameless, small } from "../lib/access.mjs";
import { launchChromium } from "../lib/browser.mjs";
import { moves } from "../lib/meeting.mjs";
import { Server } from "../lib/server.mjs";
import { stage } from "../lib/stage.mjs";

/** In the page: the energy of all sound that was received. */
const energy = async () => {
  const all = [...(await window.sfumato.state.room.peerConnection.getStats()).values()];
  return all.filter((one) => one.type === "inbound-rtp" && one.kind === "audio").reduce((sum, one) => sum + (one.totalAudioEnergy ?? 0), 0);
};

const focused = () => document.activeElement?.id ?? "";
const announced = (text) => document.getElementById("announce").textContent.includes(text);

/** Longest wait for anything: far more than it takes, since the machine may be busy. */
const LIMIT = 30_000;

describe("the meeting page", { timeout: 400_000 }, () => {
  const cast = stage(() => ({ server: Server.start(), chromium: launchChromium({ args: ["--window-size=1280,800"] }) }));
  let ada;
  let bela;

  const pageErrors = () => [...(ada?.errors ?? []), ...(bela?.errors ?? [])];
  // A test that fails in a panel leaves it open; the keys of the next one would be text in its field.
  beforeEach(async () => {
    for (const page of [ada, bela]) await page?.evaluate(() => document.getElementById("panel").hidden || document.getElementById("close-panel").click()).catch(() => {});
  });

  /** Names, contrast, sizes and width of what is shown, in dark and light, on a desktop and on a phone. */
  async function accessible(page, where) {
    for (const scheme of ["dark", "light"]) {
      // Without transitions: what is measured is not half way from one colour to the other.
      await page.raw.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      for (const [width, height] of [[360, 740], [1280, 800]]) {
        await page.raw.setViewportSize({ width, height });
        await checked(page, `${where}, ${scheme}, ${width}x${height}`);
      }
    }
    await page.raw.emulateMedia({ colorScheme: null, reducedMotion: null });
  }

  async function checked(page, where) {
    assert.deepEqual(await page.evaluate(nameless), [], `${where}: controls without a name`);
    assert.deepEqual(await page.evaluate(contrasts), [], `${where}: texts below 4.5:1`);
    assert.deepEqual(await page.evaluate(small), [], `${where}: targets below 44 px`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${where}: scrolls sideways`);
  }

  test("the start leads to a lobby with a preview, a level, and devices, and the lobby to the call", { timeout: 120_000 }, async () => {
    ada = await cast.browsers.chromium.open(`${cast.server.url}/`);
    await ada.raw.setViewportSize({ width: 1280, height: 800 });
    await ada.waitFor("the start is shown", LIMIT, () => !document.getElementById("start").hidden);
    await accessible(ada, "the start");
    await ada.raw.fill("#room", "team");
    await ada.raw.press("#room", "Enter");
    await ada.waitFor("the preview plays", LIMIT, () => document.getElementById("preview-video")?.videoWidth > 0);
    await ada.waitFor("the level moves", LIMIT, () => document.getElementById("meter-bar").offsetWidth > 20);
    await ada.waitFor("the devices are listed", LIMIT, () => document.getElementById("camera").options.length > 1 && document.getElementById("microphone").options.length > 1);
    await accessible(ada, "the lobby");
    await ada.raw.fill("#name", "Ada");
    await ada.click("#join");
    await ada.waitFor("the call is joined", LIMIT, () => window.sfumato.state.phase === "call" && window.sfumato.state.link === "connected");
    assert.equal(await ada.evaluate(() => document.getElementById("alone").hidden), false, "she is told that she is alone");
    await ada.waitFor("her own picture moves", LIMIT, moves, "Ada (you)");
  });

  test("a second page joins with its devices off, and turns them on: both see and hear each other", { timeout: 120_000 }, async () => {
    bela = await cast.browsers.chromium.open(`${cast.server.url}/?room=team`);
    await bela.raw.setViewportSize({ width: 1280, height: 800 });
    await bela.waitFor("the preview plays", LIMIT, () => document.getElementById("preview-video")?.videoWidth > 0);
    await bela.click("#lobby-camera");
    await bela.click("#lobby-mic");
    await bela.raw.fill("#name", "Béla <i>");
    await bela.click("#join");
    await bela.waitFor("the call is joined", LIMIT, () => window.sfumato.state.phase === "call");
    await bela.waitFor("Ada is seen", LIMIT, moves, "Ada");
    await ada.waitFor("the joining is announced", LIMIT, announced, "Béla <i> joined");
    await ada.waitFor("muted, with initials", LIMIT, () => {
      const tile = [...document.querySelectorAll(".tile")].find((one) => one.querySelector(".name")?.textContent === "Béla <i>");
      return tile && !tile.querySelector(".muted-mark").hidden && tile.querySelector("video").hidden;
    });
    await bela.raw.keyboard.press("v");
    // A steady tone: the browser's fake microphone only beeps, which does not count as speaking every time.
    await bela.evaluate(() => {
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wanted) => {
        if (!wanted.audio) return real(wanted);
        const context = new AudioContext();
        const tone = new OscillatorNode(context, { frequency: 300 });
        const out = context.createMediaStreamDestination();
        tone.connect(out);
        tone.start();
        return out.stream;
      };
    });
    await bela.raw.keyboard.press("m");
    await ada.waitFor("Béla is seen", LIMIT, moves, "Béla <i>");
    await ada.waitFor("the mark goes", LIMIT, () => [...document.querySelectorAll(".muted-mark")].every((mark) => mark.hidden));
    await ada.waitFor("Béla is heard", LIMIT, energy);
    await bela.waitFor("Ada is heard", LIMIT, energy);
    assert.equal(await ada.evaluate(() => document.getElementById("alone").hidden), true);
  });

  test("who speaks has a ring, and the mark of the muted comes and goes", { timeout: 120_000 }, async () => {
    await ada.waitFor("Béla speaks", LIMIT, () => [...document.querySelectorAll(".tile.speaking .name")].some((name) => name.textContent === "Béla <i>"));
    await bela.click("#mic");
    await ada.waitFor("the mark comes", LIMIT, () => [...document.querySelectorAll(".muted-mark")].some((mark) => !mark.hidden));
    assert.equal(await bela.evaluate(() => document.getElementById("mic").getAttribute("aria-pressed")), "true");
    await bela.click("#mic");
    await ada.waitFor("the mark goes", LIMIT, () => [...document.querySelectorAll(".muted-mark")].every((mark) => mark.hidden));
    await bela.click("#cam");
    await ada.waitFor("initials instead of the picture", LIMIT, () => [...document.querySelectorAll(".tile")].some((tile) => tile.querySelector(".name")?.textContent === "Béla <i>" && tile.querySelector("video").hidden));
    await bela.click("#cam");
    await ada.waitFor("the picture comes back", LIMIT, moves, "Béla <i>");
  });

  test("chat reaches the room or one member, as text, with safe links and a count of the unread", { timeout: 120_000 }, async () => {
    await ada.raw.keyboard.press("c");
    assert.equal(await ada.evaluate(focused), "chat-text");
    await ada.raw.keyboard.type("See https://example.org/x?y=1. <img src=x onerror=window.hurt=1>");
    await ada.raw.keyboard.press("Enter");
    await bela.waitFor("one is unread", LIMIT, () => document.getElementById("unread").textContent === "1" && !document.getElementById("unread").hidden);
    await bela.click("#open-chat");
    const seen = await bela.evaluate(() => {
      const line = document.querySelector(".message .text");
      const link = line.querySelector("a");
      return { text: line.textContent, href: link.href, rel: link.rel, images: line.querySelectorAll("img").length, hurt: window.hurt ?? null, unread: document.getElementById("unread").hidden };
    });
    assert.equal(seen.text, "See https://example.org/x?y=1. <img src=x onerror=window.hurt=1>");
    assert.equal(seen.href, "https://example.org/x?y=1");
    assert.match(seen.rel, /noopener.*noreferrer/);
    assert.deepEqual([seen.images, seen.hurt, seen.unread], [0, null, true]);

    await bela.raw.selectOption("#chat-to", { label: "Ada" });
    await bela.raw.fill("#chat-text", "just for you");
    await bela.raw.press("#chat-text", "Enter");
    await ada.waitFor("the private message is marked", LIMIT, () => [...document.querySelectorAll(".message:not(.mine)")].some((one) => one.textContent.includes("just for you") && one.textContent.includes("to you only")));
    assert.equal(await ada.evaluate(() => window.sfumato.state.unread), 0, "an open chat has no unread messages");

    // Letters that are typed into a field are text, not shortcuts.
    await ada.raw.press("#chat-text", "m");
    assert.equal(await ada.evaluate(() => document.getElementById("chat-text").value), "m");
    assert.equal(await ada.evaluate(() => document.getElementById("mic").getAttribute("aria-pressed")), "false");
    await ada.raw.keyboard.press("Escape");
    assert.equal(await ada.evaluate(() => document.getElementById("panel").hidden), true);
    await bela.raw.keyboard.press("Escape");
    assert.equal(await bela.evaluate(focused), "open-chat", "the focus goes back to the button");
  });

  test("the speaker view shows one large, a pin keeps it so, and keys do it all", { timeout: 120_000 }, async () => {
    const large = () => document.querySelector("#big .tile .name")?.textContent ?? null;
    await ada.raw.keyboard.press("g");
    await ada.waitFor("the other one is large", LIMIT, () => document.querySelector("#big .tile .name")?.textContent === "Béla <i>");
    await ada.waitFor("the moved picture plays on", LIMIT, moves, "Béla <i>");
    await ada.raw.focus(`.tile[data-key="${await ada.evaluate(() => window.sfumato.state.room.me.identity)}"] .pin`);
    await ada.raw.keyboard.press("Enter");
    await ada.waitFor("she is large herself", LIMIT, () => document.querySelector("#big .tile .name")?.textContent === "Ada (you)");
    await ada.click("#big .pin");
    await ada.waitFor("the pin is taken away", LIMIT, () => document.querySelector("#big .tile .name")?.textContent === "Béla <i>");
    assert.equal(await ada.evaluate(large), "Béla <i>");
    await ada.raw.keyboard.press("g");
    assert.equal(await ada.evaluate(large), null, "the grid again");
    await ada.raw.keyboard.press("?");
    assert.equal(await ada.evaluate(() => document.getElementById("help").open), true);
    assert.ok((await ada.evaluate(() => document.querySelectorAll("#shortcuts kbd").length)) >= 12);
    await ada.raw.keyboard.press("Escape");
    assert.equal(await ada.evaluate(() => document.getElementById("help").open), false);
    const ring = await ada.evaluate(() => {
      document.getElementById("more").focus();
      return getComputedStyle(document.getElementById("more")).outlineStyle;
    });
    assert.equal(ring, "solid", "the focus is seen");
  });

  test("a shared screen is shown large to the others, beside the camera", { timeout: 120_000 }, async () => {
    // A drawn picture in place of the browser's question for a window, which no script can answer.
    await bela.evaluate(() => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
      const context = canvas.getContext("2d");
      let turn = 0;
      setInterval(() => {
        context.fillStyle = `hsl(${(turn += 40)} 80% 50%)`;
        context.fillRect(0, 0, 640, 360);
      }, 100);
      navigator.mediaDevices.getDisplayMedia = async () => canvas.captureStream(10);
    });
    await bela.raw.keyboard.press("s");
    await ada.waitFor("the screen is large", LIMIT, () => document.querySelector("#big .tile.screen .name")?.textContent === "Béla <i>: screen");
    await ada.waitFor("the screen moves", LIMIT, moves, "Béla <i>: screen");
    await ada.waitFor("the camera moves beside it", LIMIT, moves, "Béla <i>");
    await bela.raw.keyboard.press("s");
    await ada.waitFor("the grid is back", LIMIT, () => document.getElementById("stage").dataset.view === "grid" && !document.querySelector(".tile.screen"));
  });

  test("the QR code reads as the link of the room", { timeout: 120_000 }, async () => {
    await ada.raw.keyboard.press("l");
    const { link, pixels, width } = await ada.evaluate(() => {
      const canvas = document.getElementById("qr");
      return { link: document.getElementById("share-link").value, width: canvas.width, pixels: [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data] };
    });
    assert.equal(link, `${cast.server.url}/?room=team`);
    assert.equal(jsQR(new Uint8ClampedArray(pixels), width, width)?.data, link);
    await ada.raw.keyboard.press("Escape");
  });

  test("the figures are live and explain themselves", { timeout: 120_000 }, async () => {
    await ada.raw.keyboard.press("i");
    await ada.waitFor("three graphs with values", LIMIT, () => {
      const values = [...document.querySelectorAll("#graphs .legend b")].map((one) => one.textContent);
      return values.length === 5 && /bit\/s/.test(values[0]) && /bit\/s/.test(values[1]) && /ms/.test(values[4]);
    });
    await ada.waitFor("Béla's picture has a size and a rate", LIMIT, () => /\d+×\d+, \d+ fps/.test(document.getElementById("person-stats").textContent) && document.getElementById("person-stats").textContent.includes("Béla <i>"));
    const words = await ada.evaluate(() => [...document.querySelectorAll("#graphs .hint")].map((one) => one.textContent.length));
    assert.ok(words.length === 3 && words.every((length) => length > 60));
    console.log(`figures: ${await ada.evaluate(() => document.getElementById("person-stats").innerText.replace(/\s+/g, " "))}`);
    await ada.raw.keyboard.press("Escape");
  });

  test("a recording is told to the others, and plays", { timeout: 120_000 }, async () => {
    await ada.evaluate(() => document.addEventListener("recorded", ({ detail }) => (window.recording = detail)));
    await ada.raw.keyboard.press("r");
    await bela.waitFor("Béla is told", LIMIT, () => document.getElementById("notices").textContent.includes("Ada records"));
    await ada.waitFor("some seconds are recorded", 2 * LIMIT, () => window.sfumato.state.recordedBytes > 15_000);
    const download = ada.raw.waitForEvent("download", { timeout: LIMIT });
    await ada.raw.keyboard.press("r");
    assert.match((await download).suggestedFilename(), /^team-[\d-]+\.(webm|mp4)$/);
    await ada.waitFor("the file is there", LIMIT, () => window.recording?.size > 15_000);
    const played = await ada.evaluate(async () => {
      const video = document.createElement("video");
      video.muted = true;
      video.src = URL.createObjectURL(window.recording);
      await video.play();
      const audio = new AudioContext();
      const heard = await audio.decodeAudioData(await window.recording.arrayBuffer()).then((buffer) => buffer.getChannelData(0).reduce((most, value) => Math.max(most, Math.abs(value)), 0), () => null);
      const frames = () => video.getVideoPlaybackQuality().totalVideoFrames;
      for (let at = 0; at < 100 && frames() < 3 && !video.ended; at += 1) await new Promise((resolve) => setTimeout(resolve, 200));
      return { width: video.videoWidth, height: video.videoHeight, frames: frames(), heard, type: window.recording.type, bytes: window.recording.size };
    });
    console.log(`recording: ${JSON.stringify(played)}`);
    assert.deepEqual([played.width, played.height], [1280, 720]);
    assert.ok(played.frames >= 3, "its picture plays");
    assert.ok(played.heard > 0.01, "its sound is heard");
    await bela.waitFor("the mark goes", LIMIT, () => window.sfumato.state.recorders.size === 0);
  });

  test("every control has a name, texts have contrast, in dark and light, and nothing scrolls sideways on a phone", { timeout: 120_000 }, async () => {
    for (const scheme of ["dark", "light"]) {
      // Without transitions: what is measured is not half way from one colour to the other.
      await ada.raw.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      for (const [width, height] of [[1280, 800], [360, 740]]) {
        await ada.raw.setViewportSize({ width, height });
        for (const panel of ["c", "p", "l", "i", ","]) {
          await ada.raw.keyboard.press(panel);
          await ada.waitFor("the panel is open", LIMIT, () => !document.getElementById("panel").hidden);
          await checked(ada, `${scheme}, ${width}x${height}, panel ${panel}`);
          await ada.raw.keyboard.press("Escape");
          await ada.waitFor("the panel is closed", LIMIT, () => document.getElementById("panel").hidden);
        }
      }
    }
    const marks = await ada.evaluate(() => ["header", "main", "[role=region][aria-label='Controls of the call']", "h1"].filter((one) => !document.querySelector(one)));
    assert.deepEqual(marks, [], "landmarks");
    await ada.raw.emulateMedia({ colorScheme: null, reducedMotion: null });
    await ada.raw.setViewportSize({ width: 1280, height: 800 });
    const themes = [];
    for (let at = 0; at < 3; at += 1) {
      await ada.click("#theme");
      themes.push(await ada.evaluate(() => document.documentElement.dataset.theme ?? "system"));
    }
    assert.deepEqual(themes, ["dark", "light", "system"]);
  });

  test("who leaves is announced, and told how to come back", { timeout: 120_000 }, async () => {
    await bela.click("#leave");
    await bela.waitFor("the end is shown", LIMIT, () => !document.getElementById("over").hidden && document.getElementById("over-title").textContent === "You have left");
    await ada.waitFor("it is announced", LIMIT, announced, "Béla <i> left");
    await accessible(bela, "the end");
    await ada.waitFor("the tile is gone", LIMIT, () => document.querySelectorAll(".tile").length === 1);
    assert.deepEqual(pageErrors(), [], "errors in the pages");
    await bela.close();
    await ada.close();
  });

  test("the demo room plays its test picture with sound at once", { timeout: 120_000 }, async () => {
    const page = await cast.browsers.chromium.open(`${cast.server.url}/?room=demo`);
    await page.waitFor("the test picture moves", LIMIT, () => {
      const video = [...document.querySelectorAll(".tile video")].find((one) => !one.hidden && one.videoWidth > 0);
      const frames = video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
      const before = (window.framesBefore ??= frames);
      return frames > before + 5;
    });
    await page.waitFor("it is heard", LIMIT, energy);
    assert.equal(await page.evaluate(() => document.getElementById("mic").getAttribute("aria-pressed")), "true", "joined muted");
    assert.equal(await page.evaluate(() => document.getElementById("unmute-page").hidden), true, "this browser may play at once");
    assert.deepEqual(page.errors, []);
    await page.close();
  });
});
