// The WebRTC stacks that the node is tried with: how each one's program is started, and which codecs it publishes. What is built
// or installed for them lies in `target/clients` (see setup.sh).

import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));

/** Where setup.sh puts what it builds. */
export const built = path.join(here, "../../target/clients");

/** Where `makeClips` has to put the pictures and sounds that are published. */
export const clips = path.join(built, "media");
const media = { media: clips };

/** What GStreamer needs is installed by ../setup.sh; its binding belongs to the system's Python, not to one before it in PATH. */
export const gstreamer = {
  name: "GStreamer",
  command: ["/usr/bin/python3", path.join(here, "gstreamer/client.py")],
  publishes: ["VP8", "H264", "VP9"],
  options: {},
};

/** Comes with `npm ci`. */
export const libdatachannel = {
  name: "libdatachannel",
  command: [process.execPath, path.join(here, "js/libdatachannel.mjs")],
  publishes: ["VP8", "H264"],
  options: media,
};

export const werift = {
  name: "werift",
  command: [process.execPath, path.join(here, "js/werift.mjs")],
  publishes: ["VP8", "H264"],
  options: media,
};

export const aiortc = {
  name: "aiortc",
  command: [path.join(built, "aiortc/bin/python"), path.join(here, "aiortc/client.py")],
  publishes: ["VP8", "H264"],
  options: {},
};

export const pion = {
  name: "Pion",
  command: [path.join(built, "pion-client")],
  publishes: ["VP8", "H264"],
  options: media,
};

export const webrtcRs = {
  name: "webrtc-rs",
  command: [path.join(built, "webrtc-rs/debug/webrtc-rs-client")],
  publishes: ["VP8", "H264"],
  options: media,
};

export const all = [gstreamer, libdatachannel, pion, aiortc, werift, webrtcRs];

/** Whether setup.sh could make the stack's program here. */
export const isBuilt = (stack) => existsSync(stack.command[0]);
