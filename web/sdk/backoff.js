// Pauses between attempts: they double up to a bound, and are spread so that the clients of a restarted node do not all come
// in the same moment.

const FIRST_MS = 250;
const LONGEST_MS = 15_000;

export class Backoff {
  #failures = 0;

  /** @param {{firstMs?: number, longestMs?: number, random?: () => number}} [options] */
  constructor({ firstMs = FIRST_MS, longestMs = LONGEST_MS, random = Math.random } = {}) {
    this.firstMs = firstMs;
    this.longestMs = longestMs;
    this.random = random;
  }

  /** Failures in a row so far. */
  get failures() {
    return this.#failures;
  }

  /**
   * Notes a failure and gives the pause before the next attempt, in milliseconds.
   * @param {number} [leastMs] what the node asked for (Retry-After)
   */
  failed(leastMs = 0) {
    const pause = Math.min(this.firstMs * 2 ** Math.min(this.#failures, 16), this.longestMs);
    this.#failures += 1;
    return Math.max(leastMs, pause * (0.75 + 0.5 * this.random()));
  }

  /** Notes a success: the next pause is the shortest again. */
  succeeded() {
    this.#failures = 0;
  }
}

/**
 * Resolves after so many milliseconds, or at once when `signal` is aborted.
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", done);
  });
}
