// Keeps a session alive for as long as it is wanted: makes one, and when it ends by itself makes the next after a pause
// that grows. Errors that only the user can mend stop it.

import { SessionError } from "./session.js";

const PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];
/** A session that lived this long was a good one: the next failure starts from the shortest pause. */
const SETTLED_MS = 20_000;

/** Event `change` whenever the session, its state, the error or the pause changes. */
export class Keeper extends EventTarget {
  /** The present session, also while it fails. */
  session = null;
  /** Why the last one ended, until the next one connects. */
  error = null;
  /** When the next attempt is due (`Date.now()` clock), or 0. */
  retryAt = 0;
  /** True when it gave up: the user has to do something. */
  stuck = false;

  #make;
  #mayRetry;
  #wanted = false;
  #failures = 0;
  #timer = 0;

  /** `make` gives a new, unopened session; `mayRetry(error)` is asked before the next one is made after a failure. */
  constructor(make, mayRetry = async () => true) {
    super();
    this.#make = make;
    this.#mayRetry = mayRetry;
  }

  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempt();
  }

  /** Tries at once, with the pause forgotten: after a new token, or when the network came back. */
  retryNow() {
    if (!this.#wanted || (this.session && this.session.state !== "closed")) return;
    this.#failures = 0;
    this.#attempt();
  }

  /** The node was away and is back: a session that was being made with it before will not come about any more. */
  serverIsBack() {
    if (this.session?.state === "connecting") this.renew();
    else this.retryNow();
  }

  /** Ends the present session and makes the next one now. */
  renew() {
    if (!this.#wanted) return;
    this.session?.close();
    this.#attempt();
  }

  stop({ leaving = false } = {}) {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.retryAt = 0;
    this.session?.close({ leaving });
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  async #attempt() {
    clearTimeout(this.#timer);
    this.retryAt = 0;
    this.stuck = false;
    const session = this.#make();
    this.session = session;
    session.addEventListener("state", () => {
      if (session !== this.session) return;
      if (session.state === "connected") this.error = null;
      this.#changed();
    });
    session.addEventListener("ended", (event) => this.#failed(session, event.detail));
    try {
      await session.open();
    } catch (error) {
      this.#failed(session, error instanceof SessionError ? error : new SessionError("lost", String(error), error));
    }
    this.#changed();
  }

  async #failed(session, error) {
    if (!this.#wanted || session !== this.session) return;
    this.error = error;
    this.#changed();
    const another = error.retryable && (await this.#mayRetry(error));
    if (!this.#wanted || session !== this.session) return;
    if (!another) {
      this.stuck = true;
      this.#changed();
      return;
    }
    if (performance.now() - session.openedAt > SETTLED_MS) this.#failures = 0;
    const pause = Math.max((error.retryAfterSeconds ?? 0) * 1000, PAUSES_MS[Math.min(this.#failures, PAUSES_MS.length - 1)]);
    this.#failures += 1;
    // Spread out, so that a restarted node is not met by everyone in the same moment.
    const spread = pause * (1 + 0.25 * Math.random());
    this.retryAt = Date.now() + spread;
    this.#timer = setTimeout(() => this.#attempt(), spread);
    this.#changed();
  }
}
