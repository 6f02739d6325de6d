// Keeps one session at the node for as long as the room is wanted: makes the first one, and when one is lost the next, with the
// same identity, tracks and slots.

import { Backoff, pause } from "./backoff.js";
import { RoomError } from "./http.js";
import { onNetworkChange } from "./recovery.js";
import { Session } from "./session.js";

/** @import {Host} from "./session.js" */
/** @import {Message} from "./types.js" */

/**
 * @typedef {"connecting" | "connected" | "reconnecting" | "closed"} State
 * @typedef {"media-blocked" | "media" | "events" | "node"} Trouble what a connection that is not complete lacks: media never got
 *   through (a firewall), media or events are interrupted, or the node does not answer
 */

/**
 * What a connection needs of its room: what a session needs, and what becomes of it.
 * @typedef {Omit<Host, "message" | "data" | "changed" | "blocked" | "lost"> & {
 *   message: (message: Message) => void,
 *   data: (message: import("./datachannels.js").DataMessage) => void,
 *   state: (state: State, trouble: Trouble | null) => void,
 *   opening: () => void,
 *   opened: (session: Session) => Promise<void>,
 *   closed: (reason: string, detail: string) => void,
 * }} Owner `opening`: a new session is about to be made; `opened`: the node told everything; `closed`: it is over for good
 */

/** From the answer to the snapshot of the room. */
const TOLD_TIMEOUT_MS = 20_000;
/** Why a session ends for good. After other reasons a new one is made. */
const FINAL = new Set(["deleted", "replaced", "removed", "room_closed", "refused"]);

export class Connection {
  /** @type {State} */
  state = "connecting";
  /** @type {Trouble | null} */
  trouble = null;
  /** @type {Session | null} */
  session = null;
  #owner;
  #everConnected = false;
  #renewing = false;
  /** The session that is being made was lost before it was complete. */
  #again = false;
  #end = new AbortController();
  /** Ends the pause before the next attempt. */
  #wake = new AbortController();
  /** Waits for the snapshot of the session that is being made. @type {((error: Error | null) => void) | null} */
  #told = null;
  /** @type {(() => void)[]} */
  #unlisten = [];

  /** @param {Owner} owner */
  constructor(owner) {
    this.#owner = owner;
  }

  /** Aborted when it is over. */
  get signal() {
    return this.#end.signal;
  }

  /** The first session; throws when the node refuses or does not answer. */
  async open() {
    try {
      await this.#owner.http.renew();
      await this.#open();
    } catch (error) {
      if (this.#end.signal.aborted) throw this.#end.signal.reason;
      this.close("failed", error instanceof Error ? error.message : String(error));
      throw error;
    }
    const hide = () => void this.session?.peer.goodbye();
    const show = (/** @type {PageTransitionEvent} */ event) => {
      // Back from the browser's cache of pages: the session was ended when the page went there.
      if (event.persisted) void this.#renew("session_unknown");
    };
    addEventListener("pagehide", hide);
    addEventListener("pageshow", show);
    this.#unlisten.push(
      () => removeEventListener("pagehide", hide),
      () => removeEventListener("pageshow", show),
      onNetworkChange(() => this.networkChanged()),
    );
  }

  /** Makes a new session in the place of the present one. */
  replace() {
    return this.#renew("replaced_by_ourselves");
  }

  /** The network is another one, or is there again. */
  networkChanged() {
    this.#wake.abort();
    this.session?.recovery?.networkChanged();
    this.session?.events?.reconnect();
  }

  /**
   * Ends it for good.
   * @param {string} reason
   * @param {string} detail
   * @param {unknown} [cause] what those who wait for it are told
   */
  close(reason, detail, cause = new RoomError({ status: 0, title: "The room is closed", detail: reason })) {
    if (this.state === "closed") return;
    this.#end.abort(cause);
    this.#wake.abort();
    this.session?.close();
    for (const off of this.#unlisten.splice(0)) off();
    this.state = "closed";
    this.trouble = null;
    this.#owner.state("closed", null);
    this.#owner.closed(reason, detail);
  }

  /** One session, until the node told everything of the room. */
  async #open() {
    const owner = this.#owner;
    this.#end.signal.throwIfAborted();
    owner.opening();
    const session = new Session({
      http: owner.http,
      endpoint: owner.endpoint,
      iceServers: owner.iceServers,
      carrier: owner.carrier,
      topics: owner.topics,
      slots: owner.slots,
      beginSession: owner.beginSession,
      publications: owner.publications,
      admission: owner.admission,
      encryption: owner.encryption,
      message: (from, message) => from === this.session && this.#take(message),
      data: (from, message) => from === this.session && owner.data(message),
      changed: (from) => from === this.session && this.#look(),
      blocked: (from) => from === this.session && this.#look("media-blocked"),
      lost: (from, reason, error) => from === this.session && this.#lost(reason, error),
    });
    this.session = session;
    await session.open();
    this.#end.signal.throwIfAborted();
    await this.#untilTold(session);
    await owner.opened(session);
  }

  /** @param {Message} message */
  #take(message) {
    this.#owner.message(message);
    if (message.type === "snapshot") this.#told?.(null);
    if (message.type === "closed") this.#lost(message.reason, message.detail ? new RoomError({ status: 0, detail: message.detail }) : undefined);
  }

  /**
   * @param {Session} session
   * @returns {Promise<void>}
   */
  #untilTold(session) {
    if (session.told) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const stop = this.#end.signal;
      const done = (/** @type {Error | null} */ error) => {
        clearTimeout(timer);
        stop.removeEventListener("abort", aborted);
        this.#told = null;
        if (error) reject(error);
        else resolve();
      };
      const aborted = () => done(stop.reason);
      const late = new RoomError({ status: 0, title: "No events", detail: "The session was made, but its events cannot be had." });
      const timer = setTimeout(() => done(late), TOLD_TIMEOUT_MS);
      stop.addEventListener("abort", aborted);
      this.#told = done;
    });
  }

  /** @param {Trouble | null} [known] what is known to be the matter */
  #look(known = null) {
    if (this.state === "closed") return;
    const { session } = this;
    const up = !this.#renewing && !!session?.mediaUp && session.eventsUp;
    this.#everConnected ||= up;
    const state = up ? "connected" : this.#everConnected ? "reconnecting" : "connecting";
    const trouble = up ? null : (known ?? this.#guess());
    if (state === this.state && trouble === this.trouble) return;
    this.state = state;
    this.trouble = trouble;
    this.#owner.state(state, trouble);
  }

  /** @returns {Trouble | null} */
  #guess() {
    if (this.#renewing && this.trouble === "node") return "node";
    if (this.session?.mediaUp) return this.#everConnected ? "events" : null;
    if (this.trouble === "media-blocked") return "media-blocked";
    return this.#everConnected ? "media" : null;
  }

  /**
   * The session is of no use any more.
   * @param {string} reason
   * @param {RoomError} [error]
   */
  #lost(reason, error) {
    if (FINAL.has(reason)) this.close(reason, error?.detail ?? "", error);
    else if (this.#told) this.#told(error ?? new RoomError({ status: 0, title: "The session ended", detail: reason }));
    else if (this.#renewing) this.#again = true;
    else if (reason === "expired" && !this.#owner.http.renews) this.close(reason, "The token expired.");
    else void this.#renew(reason);
  }

  /**
   * A new session. The node gives it the place of the old one.
   * @param {string} reason why the old one was lost
   */
  async #renew(reason) {
    if (this.#renewing || this.#end.signal.aborted) return;
    this.#renewing = true;
    const old = this.session;
    // Closed when the new one is there: the node would take a connection that ends for a member who left.
    old?.retire();
    this.#look();
    const backoff = new Backoff({ firstMs: 300, longestMs: 10_000 });
    let renewToken = reason === "expired";
    while (!this.#end.signal.aborted) {
      try {
        if (renewToken) await this.#owner.http.renew();
        this.#again = false;
        await this.#open();
        if (this.#again) throw new RoomError({ status: 0, title: "The session ended" });
        break;
      } catch (error) {
        if (this.session !== old) this.session?.close();
        if (this.#end.signal.aborted) break;
        const problem = error instanceof RoomError ? error : new RoomError({ status: 0, detail: String(error) });
        const refused = problem.status === 401 || problem.status === 403;
        // 409: the old session still counts as connected, and this room lets the older one win.
        if (problem.status === 409) void old?.peer.goodbye();
        else if (refused && this.#owner.http.renews && !renewToken) renewToken = true;
        else if (!problem.retryable) {
          old?.close({ goodbye: false });
          return this.close(refused ? "refused" : "failed", problem.detail);
        }
        this.#look("node");
        this.#wake = new AbortController();
        await pause(backoff.failed(problem.retryAfterSeconds * 1000), this.#wake.signal);
      }
    }
    old?.close({ goodbye: false });
    this.#renewing = false;
    this.#look();
  }
}
