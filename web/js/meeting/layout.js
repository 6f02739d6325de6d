// How many columns a grid of equal tiles needs so that the tiles are as large as they can be. Pure arithmetic.

/**
 * `count` tiles in `width` x `height` pixels with `gap` between them. Gives `{columns, rows, tileWidth, tileHeight}`, the tiles
 * having at least `narrow` and at most `wide` as width by height.
 */
export function bestGrid(count, width, height, { gap = 12, narrow = 1.2, wide = 16 / 9 } = {}) {
  let best = { columns: 1, rows: Math.max(1, count), tileWidth: 0, tileHeight: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.ceil(count / columns) || 1;
    const cellWidth = (width - gap * (columns - 1)) / columns;
    const cellHeight = (height - gap * (rows - 1)) / rows;
    if (cellWidth <= 0 || cellHeight <= 0) continue;
    const tileWidth = Math.min(cellWidth, cellHeight * wide);
    const tileHeight = Math.min(cellHeight, tileWidth / narrow);
    if (tileWidth * tileHeight > best.tileWidth * best.tileHeight) best = { columns, rows, tileWidth: Math.floor(tileWidth), tileHeight: Math.floor(tileHeight) };
  }
  return best;
}

/** The largest number of tiles, at most `count`, whose width stays at or above `least` pixels; at least one. */
export function fitting(count, width, height, least, options) {
  for (let tiles = count; tiles > 1; tiles -= 1) {
    if (bestGrid(tiles, width, height, options).tileWidth >= least) return tiles;
  }
  return 1;
}
