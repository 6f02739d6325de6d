// End-to-end encryption of a room: the worker, the key, and the transforms of senders and receivers.
//
// Chromium takes a transform only in the task that makes the sender or receiver; later ones get no frames. Therefore a session either
// has transforms from its beginning or never. Keys change without new transforms.

import { roomKey } from "./e2ee-frames.js";

/** @import {Kind} from "./types.js" */

export class Encryption {
  /** @type {Worker | null} */
  #worker = null;
  /** @type {CryptoKey | null} */
  #key = null;
  #version = 0;
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

  /** Whether frames are encrypted. */
  get on() {
    return this.#key !== null;
  }

  /** Whether sessions that are made from now on have transforms. */
  get prepared() {
    return this.#worker !== null;
  }

  /**
   * @param {string | null} passphrase null switches encryption off
   * @param {string} room
   */
  async use(passphrase, room) {
    if (passphrase !== null && !Encryption.supported) {
      throw new TypeError("this browser cannot encrypt end to end: it has no RTCRtpScriptTransform, or the page is not on a secure origin");
    }
    this.#key = passphrase === null ? null : await roomKey(passphrase, room);
    this.#version += 1;
    if (this.#key && !this.#worker) this.#worker = this.#start();
    this.#worker?.postMessage({ key: this.#key, version: this.#version });
  }

  #start() {
    const options = /** @type {WorkerOptions} */ ({ type: "module", name: "sfumato-e2ee" });
    // The address is written out here, since bundlers look for this form.
    const worker = this.#workerUrl ? new Worker(this.#workerUrl, options) : new Worker(new URL("./e2ee-worker.js", import.meta.url), { type: "module", name: "sfumato-e2ee" });
    worker.onmessage = ({ data }) => this.#onReadable(data.name, data.readable);
    return worker;
  }

  /**
   * Lets the frames of a sender pass through the worker.
   * @param {RTCRtpSender} sender made in this task
   * @param {Kind} kind
   */
  seal(sender, kind) {
    if (this.#worker) sender.transform = new RTCRtpScriptTransform(this.#worker, { direction: "seal", kind, name: "", key: this.#key, version: this.#version });
  }

  /**
   * Lets the frames of a receiver pass through the worker.
   * @param {RTCRtpReceiver} receiver made in this task
   * @param {Kind} kind
   * @param {string} name what to call it when it begins or ends to be readable
   */
  open(receiver, kind, name) {
    if (this.#worker) receiver.transform = new RTCRtpScriptTransform(this.#worker, { direction: "open", kind, name, key: this.#key, version: this.#version });
  }

  close() {
    this.#worker?.terminate();
    this.#worker = null;
    this.#key = null;
  }
}
