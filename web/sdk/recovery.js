// Keeps the media of one session connected: it waits a little where the browser may recover alone, restarts ICE where not, and
// says when only a new session can help.

import { Backoff } from "./backoff.js";
import { RoomError } from "./http.js";

/** @import {Peer} from "./peer.js" */

/** A short loss of connectivity mends itself; after this the ICE restart begins. */
const PATIENCE_MS = 2_500;
/** How long a restart, or the first connection, may take. */
const CONNECT_TIMEOUT_MS = 8_000;
/** Restarts that the node took and that brought nothing, before a new session is made instead. */
const RESTARTS_MAX = 3;

/**
 * @typedef {object} Hooks
 * @property {(up: boolean) => void} media media began or ceased to get through
 * @property {() => void} blocked the first connection is not made in time
 * @property {(reason: string) => void} lost only a new session can help
 */

export class Recovery {
  #timer = 0;
  #restarts = 0;
  #restarting = false;
  #ended = false;
  #connected = false;
  #everConnected = false;
  #backoff = new Backoff({ firstMs: 500, longestMs: 4_000 });

  /**
   * Watches from the first answer on.
   * @param {Peer} peer
   * @param {Hooks} hooks
   */
  constructor(peer, hooks) {
    this.peer = peer;
    this.hooks = hooks;
    this.look = this.look.bind(this);
    peer.pc.addEventListener("connectionstatechange", this.look);
    peer.pc.addEventListener("iceconnectionstatechange", this.look);
    peer.transport?.addEventListener("statechange", this.look);
    this.#arm(CONNECT_TIMEOUT_MS, () => this.#late());
    this.look();
  }

  /** Whether media gets through. */
  get connected() {
    return this.#connected;
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  /** The network changed: what was agreed with the old one may be worth nothing. */
  networkChanged() {
    if (this.#ended || this.#restarting) return;
    this.#restarts = 0;
    this.#backoff.succeeded();
    void this.#restart();
  }

  /** Looks at where the connection stands. */
  look() {
    if (this.#ended) return;
    const { pc, transport } = this.peer;
    if (transport?.state === "closed" || pc.connectionState === "closed") {
      // The node said goodbye (DTLS close_notify): it ended the session, or is going down.
      this.#lose("peer_closed");
      return;
    }
    const up = pc.connectionState === "connected" && pc.iceConnectionState !== "disconnected";
    if (up) {
      if (!this.#restarting) clearTimeout(this.#timer);
      this.#restarts = 0;
      this.#everConnected = true;
    } else if (this.#connected && !this.#restarting) {
      this.#arm(PATIENCE_MS, () => void this.#restart());
    }
    if (!up && (pc.connectionState === "failed" || pc.iceConnectionState === "failed") && !this.#restarting) {
      if (this.#everConnected) void this.#restart();
      else this.#late();
    }
    if (up !== this.#connected) {
      this.#connected = up;
      this.hooks.media(up);
    }
  }

  /** The first connection did not come about. */
  #late() {
    if (!this.#everConnected) this.hooks.blocked();
    void this.#restart();
  }

  /** @param {string} reason */
  #lose(reason) {
    if (this.#ended) return;
    this.end();
    this.hooks.lost(reason);
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} then
   */
  #arm(milliseconds, then) {
    clearTimeout(this.#timer);
    this.#timer = Number(setTimeout(then, milliseconds));
  }

  /** ICE restart (RFC 9725 section 4.3.3): new credentials both ways; the session, its keys and its slots stay. */
  async #restart() {
    if (this.#ended || this.#restarting) return;
    if (this.#restarts >= RESTARTS_MAX) {
      this.#lose("ice_restarts_failed");
      return;
    }
    this.#restarting = true;
    clearTimeout(this.#timer);
    try {
      await this.peer.negotiate({ restart: true });
      this.#restarts += 1;
      this.#backoff.succeeded();
      this.#restarting = false;
      this.#arm(CONNECT_TIMEOUT_MS, () => this.#check());
      this.look();
    } catch (error) {
      this.#restarting = false;
      if (this.#ended) return;
      if (error instanceof RoomError && !error.retryable) {
        this.#lose(error.status === 404 ? "session_unknown" : "restart_refused");
        return;
      }
      // The node is out of reach for the moment.
      const wait = error instanceof RoomError ? error.retryAfterSeconds * 1000 : 0;
      this.#arm(this.#backoff.failed(wait), () => void this.#restart());
    }
  }

  /** After a restart: whether it helped. */
  #check() {
    if (!this.#ended && !this.#connected) void this.#restart();
  }
}

/**
 * Calls `then` when the device comes to another network, or gets one again. Gives a function that ends that.
 * @param {() => void} then
 */
export function onNetworkChange(then) {
  // Chromium and Android only; `change` comes for each new guess of the speed, too.
  const connection = /** @type {any} */ (navigator).connection;
  let type = connection?.type;
  const changed = () => {
    if (connection.type === type) return;
    type = connection.type;
    if (type !== "none") then();
  };
  addEventListener("online", then);
  connection?.addEventListener?.("change", changed);
  return () => {
    removeEventListener("online", then);
    connection?.removeEventListener?.("change", changed);
  };
}
