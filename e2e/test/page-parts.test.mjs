// Parts of the meeting page that need no browser: the QR code, links in messages, the grid, the figures.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import jsQR from "jsqr";

import { History, scaleEnd, SPAN_MS, written } from "../../web/js/meeting/figures.js";
import { bestGrid, fitting } from "../../web/js/meeting/layout.js";
import { parts } from "../../web/js/meeting/linkify.js";
import { explain, explainClosed, explainDevice } from "../../web/js/meeting/messages.js";
import { encode, TooLongError } from "../../web/js/meeting/qr.js";

/** The pixels of a symbol with its quiet zone, as a camera would see them. */
function pixels(modules, scale = 4) {
  const size = (modules.length + 8) * scale;
  const data = new Uint8ClampedArray(size * size * 4).fill(255);
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      if (modules[Math.floor(y / scale) - 4]?.[Math.floor(x / scale) - 4]) data.fill(0, (y * size + x) * 4, (y * size + x) * 4 + 3);
    }
  }
  return { data, size };
}

describe("the QR code", () => {
  test("a reader that is not ours reads what was written, in every version", () => {
    const versions = new Set();
    const alphabet = "https://example.org/?room=été#key=a%20b~";
    for (let length = 1; length <= 660; length += length < 40 ? 6 : 22) {
      let text = alphabet.repeat(20).slice(0, length);
      while (new TextEncoder().encode(text).length > 666) text = text.slice(0, -1);
      const modules = encode(text);
      versions.add((modules.length - 17) / 4);
      const { data, size } = pixels(modules);
      assert.equal(jsQR(data, size, size)?.data, text, `${length} characters`);
    }
    assert.deepEqual([...versions].sort((a, b) => a - b), Array.from({ length: 20 }, (_, at) => at + 1));
  });

  test("a damaged symbol is still read, which needs the check words", () => {
    const text = "https://meet.example.org/?room=standup";
    const modules = encode(text);
    // Level M mends up to 15 % of the codewords: a stain in the data, away from the patterns that the reader looks for.
    for (let y = 14; y < 18; y += 1) for (let x = 14; x < 20; x += 1) modules[y][x] = !modules[y][x];
    const { data, size } = pixels(modules);
    assert.equal(jsQR(data, size, size)?.data, text);
  });

  test("what does not fit is refused", () => {
    assert.equal(encode("a".repeat(666)).length, 17 + 4 * 20);
    assert.throws(() => encode("a".repeat(667)), TooLongError);
  });
});

describe("links in messages", () => {
  const links = (text) => parts(text).filter((part) => part.href).map((part) => part.href);

  test("nothing of a text is lost", () => {
    for (const text of ["", "plain", "a https://b.example/c d", "https://x.example https://y.example.", "<b>https://z.example</b>"]) {
      assert.equal(parts(text).map((part) => part.text).join(""), text);
    }
  });

  test("a sentence's end is not part of its link", () => {
    assert.deepEqual(links("See https://a.example/b, or (https://c.example/d)."), ["https://a.example/b", "https://c.example/d"]);
    assert.deepEqual(links("https://a.example/b_(c)"), ["https://a.example/b_(c)"]);
  });

  test("only http and https become links, and none that hides its host behind a name", () => {
    assert.deepEqual(links("javascript:alert(1) data:text/html,x ftp://a.example file:///etc/passwd"), []);
    assert.deepEqual(links("https://bank.example@other.example/"), []);
    assert.deepEqual(links("https://"), []);
  });
});

describe("the grid", () => {
  test("tiles never leave their box, and use it well", () => {
    for (const [width, height] of [[1400, 760], [344, 600], [700, 320], [1000, 1000]]) {
      for (let count = 1; count <= 30; count += 1) {
        const { columns, rows, tileWidth, tileHeight } = bestGrid(count, width, height, { gap: 10 });
        assert.ok(columns * rows >= count, `${count} tiles in ${columns} x ${rows}`);
        assert.ok(columns * (tileWidth + 10) - 10 <= width && rows * (tileHeight + 10) - 10 <= height, `${count} in ${width}x${height}`);
        assert.ok(tileWidth > 0 && tileHeight > 0);
      }
    }
    assert.deepEqual([bestGrid(2, 1400, 700).columns, bestGrid(2, 344, 600).columns], [2, 1]);
    assert.equal(bestGrid(9, 1400, 760).columns, 3);
  });

  test("fewer tiles are shown before they get too narrow", () => {
    assert.equal(fitting(9, 1400, 760, 132), 9);
    const few = fitting(60, 344, 600, 132);
    assert.ok(few >= 6 && few < 60);
    assert.ok(bestGrid(few, 344, 600).tileWidth >= 132);
    assert.equal(fitting(5, 50, 50, 132), 1);
  });
});

describe("the figures", () => {
  const stats = (at) => ({
    at,
    sendBitrate: 1_000_000,
    receiveBitrate: 2_000_000,
    rttMs: 20,
    publications: [{ layers: [{ loss: 0.01 }, { loss: null }] }],
    // A slot without a rate lost all of its one packet: it says nothing of the line.
    slots: [{ loss: 0.1, bitrate: 1_000_000 }, { loss: 0, bitrate: 3_000_000 }, { loss: 1, bitrate: 0 }, { loss: null, bitrate: null }],
  });

  test("two minutes are kept", () => {
    const history = new History();
    for (let second = 0; second <= 300; second += 1) history.add(stats(second * 1_000));
    assert.equal(history.times[0], 300_000 - SPAN_MS);
    for (const series of Object.values(history.series)) assert.equal(series.length, history.times.length);
    assert.equal(history.series.lossUp.at(-1), 0.01);
    assert.ok(Math.abs(history.series.lossDown.at(-1) - 0.025) < 1e-9);
  });

  test("numbers are written with their units, and scales end above them", () => {
    assert.deepEqual([written(null, "ms"), written(4.26, "ms"), written(1_234_567, "bits"), written(45_400, "bits"), written(0.0213, "percent"), written(0, "percent")], ["–", "4.3 ms", "1.2 Mbit/s", "45 kbit/s", "2.1 %", "0 %"]);
    for (const [value, unit] of [[3, "ms"], [740, "ms"], [1_900_000, "bits"], [0.9, "percent"], [1_000, "ms"]]) assert.ok(scaleEnd([value, null], unit) >= value);
    assert.equal(scaleEnd([], "ms"), 100);
  });
});

describe("errors in words", () => {
  test("each says what happened and what to do, with what the server said", () => {
    for (const status of [0, 400, 401, 403, 404, 409, 413, 415, 429, 500, 503]) {
      const { title, detail } = explain({ status, detail: "the server's own words", retryAfterSeconds: 7 });
      assert.ok(title.length > 8 && detail.length > 20, `${status}: ${title} ${detail}`);
      if (status !== 0) assert.ok(detail.includes("the server's own words"), `${status}`);
    }
    assert.match(explain({ status: 503, retryAfterSeconds: 7 }).detail, /7 s/);
    for (const reason of ["left", "replaced", "removed", "room_closed", "expired", "refused", "failed", "something_new", undefined]) assert.ok(explainClosed(reason).title);
    assert.equal(explainClosed("expired").again, false);
    assert.equal(explainDevice({ name: "NotAllowedError" }, "screen"), null, "the user changed their mind");
    for (const name of ["NotAllowedError", "NotFoundError", "NotReadableError", "InsecureOriginError", "Odd"]) assert.ok(explainDevice({ name, message: "x" }, "camera").title);
  });
});
