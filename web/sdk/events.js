// The events of a session: a WebSocket, or Server-Sent Events with commands as POSTs where no WebSocket can be had. It comes
// back by itself, and asks for what it missed.

import { Backoff, pause } from "./backoff.js";
import { RoomError } from "./http.js";
import { SseParser } from "./sse.js";

/** @import {Http} from "./http.js" */
/** @import {Command, Message, Reply} from "./types.js" */

/** From opening a socket to its `welcome`. */
const OPEN_TIMEOUT_MS = 8_000;
const PING_EVERY_MS = 15_000;
/** No message for so long after a ping: the connection is dead, whatever the browser says. */
const PONG_TIMEOUT_MS = 8_000;
const REPLY_TIMEOUT_MS = 10_000;
/** Sockets that did not open in a row, while plain requests get through, before Server-Sent Events are used. */
const SOCKETS_TRIED = 2;
/** Commands that wait for a reply; the next one is refused. */
const PENDING_MAX = 256;
/** What may be done twice without harm. */
const REPEATABLE = new Set(["subscribe", "update_track", "update_me", "refresh_token", "ping"]);

/**
 * @typedef {object} Listener
 * @property {(message: Message) => void} message each message but replies and pongs
 * @property {() => void} up events flow
 * @property {() => void} down they do not, for now
 * @property {(error: RoomError) => void} gone the node does not know the session any more (404), or refuses the token (401, 403)
 */

/** @typedef {"auto" | "websocket" | "sse"} Carrier */

export class EventChannel {
  /** Number of the last message. @type {number | null} */
  #last = null;
  #stop = new AbortController();
  /** @type {WebSocket | null} */
  #socket = null;
  #up = false;
  #ids = 0;
  /** @type {Map<string, {resolve: (reply: Reply) => void, reject: (error: Error) => void}>} */
  #pending = new Map();
  #backoff = new Backoff();
  #heard = 0;
  #socketsFailed = 0;
  /** Ends the present connection, so that the next one is made at once. */
  #wake = new AbortController();

  /**
   * @param {Http} http
   * @param {string} session URL of the session
   * @param {Listener} listener
   * @param {{carrier?: Carrier}} [options]
   */
  constructor(http, session, listener, { carrier = "auto" } = {}) {
    this.http = http;
    this.session = session;
    this.listener = listener;
    /** @type {Carrier} */
    this.carrier = carrier;
  }

  /** Whether events flow. */
  get up() {
    return this.#up;
  }

  /** Which way they come: "websocket", "sse", or null while they do not. */
  get by() {
    return this.#up ? (this.#socket ? "websocket" : "sse") : null;
  }

  /** Connects, and stays so until `stop`. */
  start() {
    void this.#run();
  }

  stop() {
    this.#stop.abort();
    this.#wake.abort();
    this.#socket?.close(1000);
    this.#socket = null;
    this.#up = false;
    this.#forgetPending("the session is over");
  }

  /** Makes a new connection now: the network changed, or the pause before the next attempt is pointless. */
  reconnect() {
    this.#backoff.succeeded();
    this.#wake.abort();
    this.#socket?.close(4000, "reconnect");
  }

  /**
   * Does a command; throws {@link RoomError} when the node refuses it.
   * @param {Command} command
   */
  async command(command) {
    if (this.#stop.signal.aborted) throw new RoomError({ status: 0, title: "The session is over" });
    if (!this.#socket || !this.#up) return this.#post(command);
    try {
      const reply = await this.#ask(this.#socket, command);
      if (!reply.ok) throw RoomError.of(reply.problem);
    } catch (error) {
      const lost = error instanceof RoomError && error.status === 0;
      if (!lost || !REPEATABLE.has(command.type) || this.#stop.signal.aborted) throw error;
      await this.#post(command);
    }
  }

  /** Asks the node whether it knows the session; throws {@link RoomError} where not. */
  probe() {
    return this.#post({ type: "ping" });
  }

  /** @param {Command} command */
  async #post(command) {
    await this.http.request("POST", `${this.session}/commands`, { json: command, signal: this.#stop.signal });
  }

  /**
   * @param {WebSocket} socket
   * @param {Command} command
   * @returns {Promise<Reply>}
   */
  #ask(socket, command) {
    if (this.#pending.size >= PENDING_MAX) return Promise.reject(new RoomError({ status: 429, title: "Too many commands", detail: `${PENDING_MAX} commands wait for a reply` }));
    const id = String((this.#ids += 1));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new RoomError({ status: 0, title: "No reply", detail: `No reply to ${command.type} within ${REPLY_TIMEOUT_MS / 1000} s.` }));
      }, REPLY_TIMEOUT_MS);
      this.#pending.set(id, {
        resolve: (reply) => (clearTimeout(timer), resolve(reply)),
        reject: (error) => (clearTimeout(timer), reject(error)),
      });
      socket.send(JSON.stringify({ id, ...command }));
    });
  }

  /** @param {string} why */
  #forgetPending(why) {
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of pending) reject(new RoomError({ status: 0, title: "No reply", detail: why }));
  }

  async #run() {
    const stop = this.#stop.signal;
    while (!stop.aborted) {
      this.#wake = new AbortController();
      const began = Date.now();
      try {
        if (this.carrier === "sse" || (this.carrier === "auto" && this.#socketsFailed >= SOCKETS_TRIED)) await this.#stream();
        else await this.#websocket();
      } catch (error) {
        if (!stop.aborted && error instanceof RoomError && (await this.#refused(error))) return;
      } finally {
        this.#socket = null;
        this.#forgetPending("the connection was lost");
      }
      if (stop.aborted) return;
      if (this.#up) {
        this.#up = false;
        this.listener.down();
      }
      // A connection that held for a while was a good one.
      if (this.#heard > began && Date.now() - began > 10_000) this.#backoff.succeeded();
      await pause(this.#backoff.failed(), this.#wake.signal);
    }
  }

  /**
   * What an error of a request means for the session. Gives true when there is no point in going on.
   * @param {RoomError} error
   */
  async #refused(error) {
    if (error.status === 401 || error.status === 403) {
      if (this.http.renews && this.#backoff.failures < 3) {
        await this.http.renew().catch(() => {});
        return false;
      }
    } else if (error.status !== 404 && error.status !== 410) {
      return false;
    }
    this.#stop.abort();
    this.listener.gone(error);
    return true;
  }

  /** One WebSocket, from its opening to its end. */
  async #websocket() {
    const socket = new WebSocket(`${this.session.replace(/^http/, "ws")}/events`);
    this.#socket = socket;
    const wake = this.#wake.signal;
    const closed = new Promise((resolve) => {
      socket.onclose = resolve;
      wake.addEventListener("abort", resolve, { once: true });
    });
    const opening = setTimeout(() => socket.close(), OPEN_TIMEOUT_MS);
    socket.onopen = () => {
      /** @type {Record<string, unknown>} */
      const hello = { type: "hello" };
      if (this.http.token) hello.token = this.http.token;
      if (this.#last !== null) hello.after = this.#last;
      socket.send(JSON.stringify(hello));
    };
    let welcomed = false;
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string" || socket !== this.#socket) return;
      const message = /** @type {Message} */ (JSON.parse(data));
      if (message.type === "welcome") {
        welcomed = true;
        clearTimeout(opening);
      }
      this.#take(message);
    };
    const pinging = setInterval(() => {
      if (!welcomed) return;
      const asked = Date.now();
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "ping" }));
      setTimeout(() => {
        if (this.#socket === socket && this.#heard < asked) this.#wake.abort();
      }, PONG_TIMEOUT_MS);
    }, PING_EVERY_MS);
    await closed;
    clearTimeout(opening);
    clearInterval(pinging);
    socket.onmessage = null;
    socket.close();
    if (welcomed) {
      this.#socketsFailed = 0;
      return;
    }
    if (this.#stop.signal.aborted || wake.aborted) return;
    // Browsers do not tell why a socket did not open: a plain request does.
    await this.probe();
    this.#socketsFailed += 1;
  }

  /** One stream of Server-Sent Events, from its opening to its end. */
  async #stream() {
    const after = this.#last === null ? "" : `?after=${this.#last}`;
    const abort = new AbortController();
    const end = () => abort.abort(new Error("the stream was ended"));
    this.#wake.signal.addEventListener("abort", end, { once: true });
    const response = await this.http.request("GET", `${this.session}/events${after}`, {
      headers: { Accept: "text/event-stream" },
      signal: abort.signal,
      stream: true,
    });
    const reader = /** @type {ReadableStream<Uint8Array<ArrayBuffer>>} */ (response.body).getReader();
    const watching = setInterval(() => {
      // A stream that is quiet says nothing of the connection: a request does, and finds out whether the session is there.
      this.probe().catch(end);
    }, PING_EVERY_MS);
    const parser = new SseParser();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        for (const text of parser.push(value)) this.#take(JSON.parse(text));
      }
    } finally {
      clearInterval(watching);
      end();
    }
  }

  /** @param {Message} message */
  #take(message) {
    this.#heard = Date.now();
    switch (message.type) {
      case "pong":
        return;
      case "reply": {
        const pending = this.#pending.get(message.id);
        this.#pending.delete(message.id);
        pending?.resolve(message);
        return;
      }
      case "welcome":
        // The numbers go on where the welcome says; a snapshot makes what was before it void.
        if (!message.resumed) this.#last = message.seq;
        if (!this.#up) {
          this.#up = true;
          this.listener.up();
        }
        break;
      default:
        if (this.#last !== null && message.seq <= this.#last) return;
        this.#last = message.seq;
    }
    if (message.type === "closed") this.stop();
    this.listener.message(message);
  }
}
