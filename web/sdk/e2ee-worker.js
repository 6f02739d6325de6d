// The worker through which encrypted frames pass (RTCRtpScriptTransform). It tells the page when what it reads begins or ends to
// be readable.

import { FrameOpener, FrameSealer } from "./e2ee-frames.js";

/**
 * @typedef {object} TransformOptions
 * @property {"seal" | "open"} direction
 * @property {"audio" | "video"} kind
 * @property {CryptoKey} key
 * @property {string} name what to call it in messages to the page
 */

/** @typedef {{data: ArrayBuffer}} EncodedFrame */

/** @type {any} */ (globalThis).onrtctransform = (/** @type {{transformer: any}} */ { transformer }) => {
  const { direction, kind, key, name } = /** @type {TransformOptions} */ (transformer.options);
  const transform = direction === "seal" ? sealing(kind, key) : opening(kind, key, name);
  // Ends by itself with the sender or receiver; what fails in it is of no consequence elsewhere.
  transformer.readable.pipeThrough(transform).pipeTo(transformer.writable).catch(() => {});
};

/**
 * @param {"audio" | "video"} kind
 * @param {CryptoKey} key
 */
function sealing(kind, key) {
  const sealer = new FrameSealer(key, kind);
  return new TransformStream({
    /**
     * @param {EncodedFrame} frame
     * @param {TransformStreamDefaultController<EncodedFrame>} controller
     */
    async transform(frame, controller) {
      // Empty frames (DTX) carry nothing to hide.
      if (frame.data.byteLength > 0) frame.data = (await sealer.seal(new Uint8Array(frame.data))).buffer;
      controller.enqueue(frame);
    },
  });
}

/**
 * @param {"audio" | "video"} kind
 * @param {CryptoKey} key
 * @param {string} name
 */
function opening(kind, key, name) {
  const opener = new FrameOpener(key, kind);
  /** @type {boolean | null} */
  let readable = null;
  return new TransformStream({
    /**
     * @param {EncodedFrame} frame
     * @param {TransformStreamDefaultController<EncodedFrame>} controller
     */
    async transform(frame, controller) {
      const opened = frame.data.byteLength > 0 ? await opener.open(new Uint8Array(frame.data)) : new Uint8Array(0);
      if (readable !== (opened !== null)) {
        readable = opened !== null;
        postMessage({ name, readable });
      }
      // A frame that cannot be read never reaches a decoder: it would show garbage. What is sent in clear is not shown either, or
      // anybody on the way could put pictures of their own in.
      if (!opened) return;
      frame.data = opened.buffer;
      controller.enqueue(frame);
    },
  });
}
