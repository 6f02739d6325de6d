// QR code symbols (ISO/IEC 18004) for the join link: bytes, error correction level M, versions 1 to 20 (666 bytes at most).
// `encode` gives a matrix of booleans; `draw` puts it on a canvas. Nothing here knows of rooms.

/** Error correction codewords of one block, and the number of blocks, by version at level M (ISO/IEC 18004 table 9). */
const CHECKS_PER_BLOCK = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16];
const VERSION_MAX = BLOCKS.length;
/** Level M in the format information. */
const LEVEL_BITS = 0b00;

/** A text that does not fit the largest symbol. */
export class TooLongError extends Error {
  name = "TooLongError";
}

/** The symbol of a text as rows of modules, true being dark; without the quiet zone. Throws {@link TooLongError}. */
export function encode(text) {
  const bytes = new TextEncoder().encode(text);
  const version = smallestVersion(bytes.length);
  const codewords = interleave(dataCodewords(bytes, version), version);
  const base = functionPatterns(version);
  let best = null;
  for (let mask = 0; mask < 8; mask += 1) {
    const modules = place(base, codewords, mask);
    writeFormat(modules, mask);
    const cost = penalty(modules);
    if (best === null || cost < best.cost) best = { cost, modules };
  }
  return best.modules;
}

/** Draws a symbol with its quiet zone of four modules, `scale` pixels a module, dark on light whatever the page's colours. */
export function draw(canvas, modules, scale = 6) {
  const size = modules.length + 8;
  canvas.width = size * scale;
  canvas.height = size * scale;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#000";
  modules.forEach((row, y) =>
    row.forEach((dark, x) => {
      if (dark) context.fillRect((x + 4) * scale, (y + 4) * scale, scale, scale);
    }),
  );
}

// Codewords --------------------------------------------------------------------------------------------------------

/** All codewords of a version: the modules that no function pattern covers, in bytes. */
function rawCodewords(version) {
  let bits = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const across = Math.floor(version / 7) + 2;
    bits -= (25 * across - 10) * across - 55;
    if (version >= 7) bits -= 36;
  }
  return bits >> 3;
}

function dataLength(version) {
  return rawCodewords(version) - CHECKS_PER_BLOCK[version - 1] * BLOCKS[version - 1];
}

const countBits = (version) => (version < 10 ? 8 : 16);

function smallestVersion(length) {
  for (let version = 1; version <= VERSION_MAX; version += 1) {
    if (4 + countBits(version) + 8 * length <= 8 * dataLength(version)) return version;
  }
  throw new TooLongError(`${length} bytes do not fit a QR code of version ${VERSION_MAX}`);
}

/** Mode, length, the bytes, the terminator and the padding (ISO/IEC 18004 section 7.4). */
function dataCodewords(bytes, version) {
  const bits = [];
  const push = (value, count) => {
    for (let at = count - 1; at >= 0; at -= 1) bits.push((value >> at) & 1);
  };
  push(0b0100, 4);
  push(bytes.length, countBits(version));
  for (const byte of bytes) push(byte, 8);
  const capacity = 8 * dataLength(version);
  push(0, Math.min(4, capacity - bits.length));
  push(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < capacity; pad ^= 0xec ^ 0x11) push(pad, 8);
  const words = new Uint8Array(bits.length / 8);
  bits.forEach((bit, at) => (words[at >> 3] |= bit << (7 - (at & 7))));
  return words;
}

/** Splits into blocks, adds each block's check words, and takes one of each block in turn (section 7.6). */
function interleave(data, version) {
  const count = BLOCKS[version - 1];
  const checks = CHECKS_PER_BLOCK[version - 1];
  const raw = rawCodewords(version);
  const shortData = Math.floor(raw / count) - checks;
  const longBlocks = raw % count;
  const generator = generatorOf(checks);
  const blocks = [];
  for (let at = 0, start = 0; at < count; at += 1) {
    const length = shortData + (at >= count - longBlocks ? 1 : 0);
    const part = data.subarray(start, start + length);
    blocks.push({ part, check: remainder(part, generator) });
    start += length;
  }
  const out = [];
  for (let at = 0; at <= shortData; at += 1) for (const { part } of blocks) if (at < part.length) out.push(part[at]);
  for (let at = 0; at < checks; at += 1) for (const { check } of blocks) out.push(check[at]);
  return out;
}

/** Product in the field of 256 elements over x^8 + x^4 + x^3 + x^2 + 1. */
function times(a, b) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >> 7) * 0x11d);
    if ((b >> bit) & 1) product ^= a;
  }
  return product;
}

/** The generator polynomial of a degree, highest coefficient (1) left out. */
function generatorOf(degree) {
  const out = new Uint8Array(degree);
  out[degree - 1] = 1;
  let root = 1;
  for (let step = 0; step < degree; step += 1) {
    for (let at = 0; at < degree; at += 1) out[at] = times(out[at], root) ^ (out[at + 1] ?? 0);
    root = times(root, 2);
  }
  return out;
}

function remainder(data, generator) {
  const out = new Array(generator.length).fill(0);
  for (const byte of data) {
    const factor = byte ^ out.shift();
    out.push(0);
    generator.forEach((coefficient, at) => (out[at] ^= times(coefficient, factor)));
  }
  return out;
}

// Modules ----------------------------------------------------------------------------------------------------------

/** A matrix with the function patterns; null where data goes. */
function functionPatterns(version) {
  const size = 17 + 4 * version;
  const rows = Array.from({ length: size }, () => new Array(size).fill(null));
  const set = (x, y, dark) => {
    if (x >= 0 && y >= 0 && x < size && y < size) rows[y][x] = dark;
  };
  for (let at = 0; at < size; at += 1) {
    set(at, 6, at % 2 === 0);
    set(6, at, at % 2 === 0);
  }
  for (const [cx, cy] of [[3, 3], [size - 4, 3], [3, size - 4]]) {
    for (let dy = -4; dy <= 4; dy += 1) {
      for (let dx = -4; dx <= 4; dx += 1) {
        const ring = Math.max(Math.abs(dx), Math.abs(dy));
        set(cx + dx, cy + dy, ring !== 2 && ring !== 4);
      }
    }
  }
  const centres = alignmentCentres(version);
  const last = centres.length - 1;
  centres.forEach((cx, i) =>
    centres.forEach((cy, j) => {
      if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) return;
      for (let dy = -2; dy <= 2; dy += 1) for (let dx = -2; dx <= 2; dx += 1) set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
    }),
  );
  writeFormat(rows, 0);
  if (version >= 7) writeVersion(rows, version);
  return rows;
}

function alignmentCentres(version) {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const last = 4 * version + 10;
  const step = 2 * Math.ceil((last - 6) / (2 * (count - 1)));
  return [6, ...Array.from({ length: count - 1 }, (_, at) => last - step * (count - 2 - at))];
}

/** Level and mask with their BCH code, twice, and the module that is always dark (section 7.9). */
function writeFormat(rows, mask) {
  const size = rows.length;
  const value = (LEVEL_BITS << 3) | mask;
  let rest = value;
  for (let step = 0; step < 10; step += 1) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
  const bits = ((value << 10) | rest) ^ 0x5412;
  for (let at = 0; at < 15; at += 1) {
    const dark = ((bits >> at) & 1) === 1;
    // First copy: up the eighth column and along the eighth row, around the upper left finder.
    if (at < 6) rows[at][8] = dark;
    else if (at < 8) rows[at + 1][8] = dark;
    else if (at === 8) rows[8][7] = dark;
    else rows[8][14 - at] = dark;
    // Second copy: half under the upper right finder, half beside the lower left one.
    if (at < 8) rows[8][size - 1 - at] = dark;
    else rows[size - 15 + at][8] = dark;
  }
  rows[size - 8][8] = true;
}

/** The version with its BCH code, twice (section 7.10). */
function writeVersion(rows, version) {
  let rest = version;
  for (let step = 0; step < 12; step += 1) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25);
  const bits = (version << 12) | rest;
  for (let at = 0; at < 18; at += 1) {
    const dark = ((bits >> at) & 1) === 1;
    const far = rows.length - 11 + (at % 3);
    const near = Math.floor(at / 3);
    rows[near][far] = dark;
    rows[far][near] = dark;
  }
}

const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (_x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** Puts the codewords into the free modules, in columns of two from the right, upwards and downwards by turns (section 7.7.3). */
function place(base, codewords, mask) {
  const size = base.length;
  const rows = base.map((row) => [...row]);
  let at = 0;
  let upwards = true;
  for (let right = size - 1; right > 0; right -= 2) {
    // The vertical timing pattern takes a column of its own.
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1) {
      const y = upwards ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (base[y][x] !== null) continue;
        const bit = at < codewords.length * 8 && ((codewords[at >> 3] >> (7 - (at & 7))) & 1) === 1;
        rows[y][x] = bit !== MASKS[mask](x, y);
        at += 1;
      }
    }
    upwards = !upwards;
  }
  return rows;
}

/** How hard a symbol is to read (section 7.8.3): runs, blocks, what looks like a finder, and too much of one colour. */
function penalty(rows) {
  const size = rows.length;
  const column = (x) => rows.map((row) => row[x]);
  const lines = [...rows, ...rows.map((_, x) => column(x))].map((line) => line.map((dark) => (dark ? "1" : "0")).join(""));
  let cost = 0;
  for (const line of lines) {
    for (const [run] of line.matchAll(/1{5,}|0{5,}/g)) cost += run.length - 2;
    for (const finder of ["10111010000", "00001011101"]) {
      for (let from = line.indexOf(finder); from >= 0; from = line.indexOf(finder, from + 1)) cost += 40;
    }
  }
  for (let y = 1; y < size; y += 1) {
    for (let x = 1; x < size; x += 1) {
      const dark = rows[y][x];
      if (dark === rows[y][x - 1] && dark === rows[y - 1][x] && dark === rows[y - 1][x - 1]) cost += 3;
    }
  }
  const share = rows.flat().filter(Boolean).length / (size * size);
  return cost + 10 * Math.floor(Math.abs(share - 0.5) * 20);
}
