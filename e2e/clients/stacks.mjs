// How each stack's program is started, and what it can do. `needs` says in words what is missing where it cannot run.

import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const here = path.dirname(fileURLToPath(import.meta.url));

export const gstreamer = {
  name: "GStreamer",
  // The binding belongs to the system's Python, not to one that stands before it in PATH.
  command: ["/usr/bin/python3", path.join(here, "gstreamer/client.py")],
  codecs: ["VP8", "H264", "VP9"],
};
