// What a suite plays on: a node and browsers, there before its tests and gone after them.

import { after, before } from "node:test";

import { gather } from "./wait.mjs";

/**
 * Starts what `start` promises before the suite's tests, and ends it after them: first the browsers, then the node, named
 * `server`. Gives the object that they stand in by their names once the tests run; `browsers` holds all but the node.
 */
export function stage(start) {
  const cast = { browsers: {} };

  before(async () => {
    const started = {};
    try {
      await gather(started, start());
    } finally {
      // What did start has to be ended, too, where something else did not.
      ({ server: cast.server, ...cast.browsers } = started);
    }
  }, { timeout: 60_000 });

  after(async () => {
    await Promise.all(Object.values(cast.browsers).map((browser) => browser.close()));
    await cast.server?.stop();
  }, { timeout: 30_000 });

  return cast;
}
