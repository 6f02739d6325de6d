// One peer connection and the session resource that belongs to it. The client always offers; offers are made one after the
// other, and a change that comes while an offer is under way goes into the next one.

import { RoomError } from "./http.js";

/** @import {Http} from "./http.js" */
/** @import {TrackDescription} from "./types.js" */

/**
 * @typedef {object} PeerOptions
 * @property {RTCIceServer[]} [iceServers]
 * @property {() => TrackDescription[]} tracks what the sending sections are, asked when an offer is set
 * @property {() => Record<string, unknown>} admission what the first request says beside the offer
 */

export class Peer {
  /** URL of the session; null before the node made it. @type {string | null} */
  url = null;
  /** The identity that the node gave. */
  identity = "";
  /** Entity tag of the ICE session. */
  #etag = "*";
  /** @type {Promise<void> | null} */
  #next = null;
  /** @type {Promise<void>} */
  #last = Promise.resolve();
  #restart = false;
  #abort = new AbortController();

  /**
   * @param {Http} http
   * @param {string} endpoint URL of the room's sessions
   * @param {PeerOptions} options
   */
  constructor(http, endpoint, options) {
    this.http = http;
    this.endpoint = endpoint;
    this.options = options;
    this.pc = new RTCPeerConnection({ iceServers: options.iceServers ?? [], bundlePolicy: "max-bundle" });
  }

  get closed() {
    return this.#abort.signal.aborted;
  }

  /**
   * Offers what the peer connection has by now, and applies the answer. Calls that come before the offer is made share it.
   * @param {{restart?: boolean}} [options] `restart`: ICE begins anew
   * @returns {Promise<void>}
   */
  negotiate({ restart = false } = {}) {
    this.#restart ||= restart;
    if (this.#next) return this.#next;
    const next = this.#last.then(() => {
      this.#next = null;
      return this.#round();
    });
    this.#next = next;
    this.#last = next.catch(() => {});
    return next;
  }

  async #round() {
    if (this.closed) throw new RoomError({ status: 0, title: "The session is over" });
    const restart = this.#restart;
    this.#restart = false;
    const { pc } = this;
    try {
      await pc.setLocalDescription(await pc.createOffer({ iceRestart: restart }));
      // Not trickled: the node is ICE-lite with all its candidates in the answer, and learns ours from their checks.
      const sdp = /** @type {RTCSessionDescription} */ (pc.localDescription).sdp;
      const answer = this.url === null ? await this.#create(sdp) : await this.#change(this.url, sdp, restart);
      if (this.closed) return;
      await pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      this.#restart ||= restart;
      if (pc.signalingState === "have-local-offer") await pc.setLocalDescription({ type: "rollback" }).catch(() => {});
      throw error;
    }
  }

  /** @param {string} sdp */
  async #create(sdp) {
    const response = await this.http.request("POST", this.endpoint, {
      headers: { Accept: "application/json" },
      json: { sdp, ...this.options.admission(), tracks: this.options.tracks() },
      signal: this.#abort.signal,
    });
    const location = response.headers.get("Location");
    if (!location) throw new RoomError({ status: 502, title: "No Location", detail: "The answer names no session, or a proxy or CORS hides its header." });
    this.url = new URL(location, response.url).href;
    this.#etag = response.headers.get("ETag") ?? "*";
    this.#useIceServers(response.headers.get("Link"));
    const { sdp: answer, identity } = await response.json();
    this.identity = identity;
    return answer;
  }

  /**
   * @param {string} url
   * @param {string} sdp
   * @param {boolean} restart
   */
  async #change(url, sdp, restart) {
    const json = { sdp, tracks: this.options.tracks() };
    const patch = (/** @type {string} */ etag) =>
      this.http.request("PATCH", url, { headers: { Accept: "application/json", "If-Match": etag }, json, signal: this.#abort.signal });
    let response;
    try {
      response = await patch(restart ? "*" : this.#etag);
    } catch (error) {
      // The answer to an earlier restart was lost: the node is a tag ahead of us.
      if (!(error instanceof RoomError) || error.status !== 412) throw error;
      response = await patch("*");
    }
    this.#etag = response.headers.get("ETag") ?? this.#etag;
    return (await response.json()).sdp;
  }

  /**
   * Servers from Link headers (RFC 9725 section 4.6); browsers use them from the next ICE restart on.
   * @param {string | null} link
   */
  #useIceServers(link) {
    if (this.options.iceServers || !link) return;
    const iceServers = iceServersOf(link);
    if (iceServers.length > 0) this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers });
  }

  /** The one DTLS transport of the bundle; browsers have it once the answer is applied. */
  get transport() {
    for (const { sender, receiver } of this.pc.getTransceivers()) {
      const transport = sender.transport ?? receiver.transport;
      if (transport) return transport;
    }
    return this.pc.sctp?.transport ?? null;
  }

  /** Tells the node that the session is over. */
  async goodbye() {
    const { url } = this;
    this.url = null;
    // The request outlives the page. A session that is gone already answers 404, which is as good.
    if (url) await this.http.request("DELETE", url, { keepalive: true }).catch(() => {});
  }

  /**
   * Ends the session. `goodbye`: the node is told.
   * @param {{goodbye?: boolean}} [options]
   */
  close({ goodbye = true } = {}) {
    if (this.closed) return;
    this.#abort.abort(new RoomError({ status: 0, title: "The session is over" }));
    if (goodbye) void this.goodbye();
    this.pc.close();
  }
}

/**
 * ICE servers in a Link header: `<turn:host?transport=udp>; rel="ice-server"; username="u"; credential="c"`.
 * @param {string} link
 * @returns {RTCIceServer[]}
 */
export function iceServersOf(link) {
  /** @type {RTCIceServer[]} */
  const servers = [];
  for (const [, urls, parameters] of link.matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+(?:="(?:[^"\\]|\\.)*"|=[^;,\s]*)?)*)/g)) {
    const value = (/** @type {string} */ name) => {
      const found = new RegExp(`;\\s*${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;,\\s]*))`, "i").exec(parameters);
      return found ? (found[1] ?? found[2]).replace(/\\(.)/g, "$1") : undefined;
    };
    if (value("rel") !== "ice-server") continue;
    const server = { urls };
    const [username, credential] = [value("username"), value("credential")];
    servers.push(username === undefined ? server : { ...server, username, credential });
  }
  return servers;
}
