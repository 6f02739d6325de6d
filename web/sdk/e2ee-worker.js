// The worker through which encrypted frames pass (RTCRtpScriptTransform). It tells the page when what it reads begins or ends to
// be readable.

import { FrameOpener, FrameSealer } from "./e2ee-frames.js";

/**
 * @typedef {{key: CryptoKey | null, version: number}} Key the room's key at the moment; null: frames pass as they are
 * @typedef {Key & {direction: "seal" | "open", kind: "audio" | "video", name: string}} TransformOptions `name`: what to call it in
 *   messages to the page
 * @typedef {{data: ArrayBuffer}} EncodedFrame
 */

/** @type {Key} */
let current = { key: null, version: -1 };

/** Keys come with transforms and by themselves, in any order. @param {Key} key */
function learn({ key, version }) {
  if (version > current.version) current = { key, version };
}

globalThis.addEventListener("message", ({ data }) => learn(data));

globalThis.addEventListener("rtctransform", (event) => {
  const { transformer } = /** @type {any} */ (event);
  const options = /** @type {TransformOptions} */ (transformer.options);
  learn(options);
  const transform = options.direction === "seal" ? sealing(options) : opening(options);
  // Ends with the sender or receiver.
  transformer.readable.pipeThrough(transform).pipeTo(transformer.writable).catch(() => {});
});

const TELL_EVERY_MS = 1_000;

/** @param {TransformOptions} options */
function sealing({ kind }) {
  let version = -1;
  /** @type {FrameSealer | null} */
  let sealer = null;
  return new TransformStream({
    /**
     * @param {EncodedFrame} frame
     * @param {TransformStreamDefaultController<EncodedFrame>} controller
     */
    async transform(frame, controller) {
      if (version !== current.version) {
        version = current.version;
        sealer = current.key && new FrameSealer(current.key, kind);
      }
      // Empty frames carry nothing to hide.
      if (sealer && frame.data.byteLength > 0) frame.data = (await sealer.seal(new Uint8Array(frame.data))).buffer;
      controller.enqueue(frame);
    },
  });
}

/** @param {TransformOptions} options */
function opening({ kind, name }) {
  let version = -1;
  /** @type {FrameOpener | null} */
  let opener = null;
  /** @type {boolean | null} */
  let readable = null;
  let toldAt = 0;
  return new TransformStream({
    /**
     * @param {EncodedFrame} frame
     * @param {TransformStreamDefaultController<EncodedFrame>} controller
     */
    async transform(frame, controller) {
      if (version !== current.version) {
        version = current.version;
        opener = current.key && new FrameOpener(current.key, kind);
        readable = null;
      }
      if (opener && frame.data.byteLength > 0) {
        const opened = await opener.open(new Uint8Array(frame.data));
        // Told again every second: the slot may show another member by now, or the page may not have known yet whom it shows.
        const now = performance.now();
        if (readable !== (opened !== null) || now - toldAt >= TELL_EVERY_MS) {
          readable = opened !== null;
          toldAt = now;
          postMessage({ name, readable });
        }
        // A frame that cannot be read never reaches a decoder: it would show garbage. What is sent in clear is not shown either,
        // or anybody on the way could put pictures of their own in.
        if (!opened) return;
        frame.data = opened.buffer;
      }
      controller.enqueue(frame);
    },
  });
}
