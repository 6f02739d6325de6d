// One WHIP or WHEP session (RFC 9725, draft-ietf-wish-whep): offer, answer, ICE restart, goodbye. The two differ only
// in what their media sections are (whip.js, whep.js), which a subclass adds in `prepare`.
//
// A session lives once. When it ends by itself it says why, and keeper.js decides whether there will be another.

import { ApiError } from "./api.js";
import { answerAfterRestart, restartFragment } from "./sdpfrag.js";

/** From the answer to the first connection; the node forgets a session that takes longer than 15 s. */
const CONNECT_TIMEOUT_MS = 12_000;
/** A short loss of connectivity mends itself; after this the ICE restart begins. */
const PATIENCE_MS = 2_500;
/** Restarts tried in a row before a new session is made instead. */
const MAX_RESTARTS = 4;
/** How long one restart may take to bring the connection back. */
const RESTART_TIMEOUT_MS = 8_000;

/** Why a session ended by itself. `code`: "http", "media-blocked", "lost" or "ended". */
export class SessionError extends Error {
  constructor(code, message, cause = null) {
    super(message, { cause });
    this.name = "SessionError";
    this.code = code;
  }

  get retryable() {
    return this.code === "http" ? this.cause.retryable : true;
  }

  get retryAfterSeconds() {
    return this.cause instanceof ApiError ? this.cause.retryAfterSeconds : null;
  }
}

/**
 * Events: `state` whenever {@link Session#state} changes; `ended` once, with `detail` a {@link SessionError}, when the
 * session is over and nobody asked for it.
 */
export class Session extends EventTarget {
  /** "new", "offering", "connecting", "connected", "recovering" or "closed" */
  state = "new";
  /** @type {RTCPeerConnection | null} */
  pc = null;
  /** The session's own URL, from `Location`. */
  url = null;
  /** Entity tag of the ICE session. */
  etag = null;
  /** When `open` was called, in the page's clock. */
  openedAt = 0;

  #api;
  #endpoint;
  #timer = 0;
  #restarts = 0;
  #restarting = false;

  constructor(api, endpoint, iceServers) {
    super();
    this.#api = api;
    this.#endpoint = endpoint;
    this.iceServers = iceServers;
  }

  /** Adds the media sections. */
  prepare(_pc) {
    throw new Error("a subclass adds the media sections");
  }

  /** Makes the connection; throws {@link SessionError} when the node refuses. */
  async open() {
    this.openedAt = performance.now();
    this.#enter("offering");
    const pc = new RTCPeerConnection({ iceServers: this.iceServers, bundlePolicy: "max-bundle" });
    this.pc = pc;
    try {
      await this.prepare(pc);
      await pc.setLocalDescription(await pc.createOffer());
      // Not trickled: the node is ICE-lite with all its candidates in the answer, and learns ours from their checks.
      const response = await this.#api.request("POST", this.#endpoint, {
        headers: { "Content-Type": "application/sdp", Accept: "application/sdp" },
        body: pc.localDescription.sdp,
      });
      const location = response.headers.get("Location");
      if (location) this.url = new URL(location, response.url).href;
      this.etag = response.headers.get("ETag");
      const answer = await response.text();
      if (this.state === "closed") {
        // Closed while the answer was under way: the node must not wait for a peer that will not come.
        this.#delete(false);
        return;
      }
      this.#enter("connecting");
      this.#arm(CONNECT_TIMEOUT_MS, () => this.#end(new SessionError("media-blocked", "the media connection was not made in time")));
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
      this.#watch(pc);
    } catch (cause) {
      if (this.state === "closed") return;
      this.close();
      if (cause instanceof ApiError) throw new SessionError("http", cause.message, cause);
      throw new SessionError("lost", cause.message, cause);
    }
  }

  /** Ends the session. `leaving`: the page is going away, the goodbye must outlive it. */
  close({ leaving = false } = {}) {
    if (this.state === "closed") return;
    clearTimeout(this.#timer);
    this.#delete(leaving);
    this.pc?.close();
    this.#enter("closed");
  }

  #delete(keepalive) {
    if (!this.url) return;
    const url = this.url;
    this.url = null;
    // A session that is gone already answers 404, which is as good.
    this.#api.request("DELETE", url, { keepalive }).catch(() => {});
  }

  #enter(state) {
    if (this.state === state || this.state === "closed") return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #end(error) {
    if (this.state === "closed") return;
    this.close();
    this.dispatchEvent(new CustomEvent("ended", { detail: error }));
  }

  #arm(milliseconds, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, milliseconds);
  }

  #watch(pc) {
    const look = () => {
      if (this.pc !== pc || this.state === "closed") return;
      if (this.#transport(pc)?.state === "closed" || pc.connectionState === "closed") {
        // The node said goodbye (DTLS close_notify): it ended the session, or is going down.
        this.#end(new SessionError("ended", "the server ended the session"));
      } else if (pc.connectionState === "connected") {
        clearTimeout(this.#timer);
        this.#restarts = 0;
        this.#enter("connected");
      } else if (this.state !== "connecting" && !this.#restarting && pc.connectionState === "disconnected") {
        this.#enter("recovering");
        this.#arm(PATIENCE_MS, () => this.#restart());
      } else if (!this.#restarting && pc.connectionState === "failed") {
        if (this.state === "connecting") this.#end(new SessionError("media-blocked", "no path for media to the server"));
        else this.#restart();
      }
    };
    pc.addEventListener("connectionstatechange", look);
    this.#transport(pc)?.addEventListener("statechange", look);
    look();
  }

  /** The one DTLS transport of the bundle; browsers have it once the answer is applied. */
  #transport(pc) {
    for (const { sender, receiver } of pc.getTransceivers()) {
      const transport = sender.transport ?? receiver.transport;
      if (transport) return transport;
    }
    return null;
  }

  /** ICE restart (RFC 9725 section 4.3.3): new credentials both ways, the session and its keys stay. */
  async #restart() {
    const pc = this.pc;
    if (this.state === "closed" || this.#restarting) return;
    if (this.#restarts >= MAX_RESTARTS || !this.url) {
      this.#end(new SessionError("lost", "the connection did not come back"));
      return;
    }
    this.#restarts += 1;
    this.#restarting = true;
    this.#enter("recovering");
    const before = pc.remoteDescription.sdp;
    try {
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
      const response = await this.#api.request("PATCH", this.url, {
        headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" },
        body: restartFragment(pc.localDescription.sdp),
      });
      const fragment = await response.text();
      if (this.state === "closed") return;
      this.etag = response.headers.get("ETag") ?? this.etag;
      await pc.setRemoteDescription({ type: "answer", sdp: answerAfterRestart(before, fragment) });
      this.#restarting = false;
      this.#arm(RESTART_TIMEOUT_MS, () => this.#restart());
    } catch (cause) {
      this.#restarting = false;
      if (this.state === "closed") return;
      const status = cause instanceof ApiError ? cause.status : -1;
      if (status > 0 && status < 500 && status !== 429) {
        this.#end(new SessionError("ended", "the server does not know the session any more", cause));
        return;
      }
      // The node is out of reach for the moment: back to the agreed state, and once more.
      await pc.setLocalDescription({ type: "rollback" }).catch(() => {});
      const wait = (cause.retryAfterSeconds ?? 2 ** this.#restarts) * 1000;
      this.#arm(wait, () => this.#restart());
    }
  }
}
