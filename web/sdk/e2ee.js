// End-to-end encryption of a room: the worker, the key, and the transforms of senders and receivers.

import { roomKey } from "./e2ee-frames.js";

/** @import {Kind} from "./types.js" */

export class Encryption {
  /** @type {Worker | null} */
  #worker = null;
  /** @type {CryptoKey | null} */
  #key = null;
  #workerUrl;
  #onReadable;

  /**
   * @param {URL | string | undefined} workerUrl where the worker's file is, when not beside this one
   * @param {(name: string, readable: boolean) => void} onReadable
   */
  constructor(workerUrl, onReadable) {
    this.#workerUrl = workerUrl;
    this.#onReadable = onReadable;
  }

  /** Whether this browser can do it. */
  static get supported() {
    return typeof RTCRtpScriptTransform === "function" && typeof crypto?.subtle === "object";
  }

  get on() {
    return this.#key !== null;
  }

  /**
   * @param {string | null} passphrase null switches encryption off
   * @param {string} room
   */
  async use(passphrase, room) {
    if (passphrase === null) {
      this.#key = null;
      return;
    }
    if (!Encryption.supported) throw new TypeError("this browser cannot encrypt end to end: it has no RTCRtpScriptTransform, or the page is not on a secure origin");
    const key = await roomKey(passphrase, room);
    if (!this.#worker) {
      this.#worker = this.#workerUrl
        ? new Worker(this.#workerUrl, { type: "module", name: "sfumato-e2ee" })
        : new Worker(new URL("./e2ee-worker.js", import.meta.url), { type: "module", name: "sfumato-e2ee" });
      this.#worker.onmessage = ({ data }) => this.#onReadable(data.name, data.readable);
    }
    this.#key = key;
  }

  /**
   * @param {RTCRtpSender} sender
   * @param {Kind} kind
   */
  protect(sender, kind) {
    if (!Encryption.supported) return;
    sender.transform = this.#transform("seal", kind, "");
  }

  /**
   * @param {RTCRtpReceiver} receiver
   * @param {Kind} kind
   * @param {string} name
   */
  unprotect(receiver, kind, name) {
    if (!Encryption.supported) return;
    receiver.transform = this.#transform("open", kind, name);
  }

  /**
   * @param {"seal" | "open"} direction
   * @param {Kind} kind
   * @param {string} name
   */
  #transform(direction, kind, name) {
    if (!this.#worker || !this.#key) return null;
    return new RTCRtpScriptTransform(this.#worker, { direction, kind, key: this.#key, name });
  }

  close() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#key = null;
  }
}
