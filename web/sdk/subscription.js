// Which track goes into which slot, where the page names tracks and leaves the slots to us. Plain values in and out.

/**
 * What the page wants to see.
 * @typedef {object} Wish
 * @property {string | null} track id of a track; null empties the slot
 * @property {string} [mid] the slot; where absent, one is chosen
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [priority]
 * @property {boolean} [paused]
 */

/** @import {WireWish} from "./types.js" */

/**
 * Places wishes in slots. A track that has a slot keeps it, so that nothing is switched without need; others get free slots in
 * order. When no wish names its slot, the wishes are all that is wanted, and the slots that are left are emptied.
 *
 * @param {Wish[]} wishes the most important first
 * @param {{mid: string, track: string | null}[]} slots video slots and the tracks that they have
 * @returns {{placed: WireWish[], missing: number}} `missing`: wishes for which there is no slot
 */
export function place(wishes, slots) {
  /** @type {Map<string, WireWish>} */
  const placed = new Map();
  const put = (/** @type {string} */ mid, /** @type {Wish} */ { mid: _, ...rest }) => placed.set(mid, { ...rest, mid });
  const unnamed = wishes.filter(({ mid }) => mid === undefined);
  for (const wish of wishes) if (wish.mid !== undefined) put(wish.mid, wish);
  const waiting = unnamed.filter((wish) => {
    const home = slots.find(({ mid, track }) => track !== null && track === wish.track && !placed.has(mid));
    if (home) put(home.mid, wish);
    return !home;
  });
  // Empty slots first: in them nothing that is shown has to go.
  const free = [...slots.filter(({ track }) => track === null), ...slots.filter(({ track }) => track !== null)].filter(({ mid }) => !placed.has(mid));
  const missing = Math.max(0, waiting.length - free.length);
  for (const wish of waiting) {
    const slot = free.shift();
    if (slot) put(slot.mid, wish);
  }
  if (unnamed.length === wishes.length) {
    for (const { mid, track } of free) if (track !== null) placed.set(mid, { mid, track: null });
  }
  return { placed: [...placed.values()], missing };
}
