// What the programs in JavaScript share: the command line, the WHIP and WHEP exchange, and the lines of JSON.

import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** When the program began, on the clock of `performance.now()`. */
export const began = performance.now();

const MEDIA = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../../media");

/** `publish|watch URL [--codec VP8|H264] [--seconds N] [--token T] [--media DIRECTORY] [--verbose]` */
export function options() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      codec: { type: "string" },
      seconds: { type: "string", default: "10" },
      token: { type: "string" },
      media: { type: "string", default: MEDIA },
      verbose: { type: "boolean", default: false },
    },
  });
  const [role, url] = positionals;
  if (!["publish", "watch"].includes(role) || !url) {
    console.error("publish|watch URL [--codec VP8|H264] [--seconds N] [--token T] [--media DIRECTORY] [--verbose]");
    process.exit(2);
  }
  return { ...values, role, url, seconds: Number(values.seconds), publishing: role === "publish" };
}

/** Sends the offer; gives the answer. The session's address stays in `wanted.resource`. */
export async function exchange(wanted, offer) {
  if (wanted.verbose) console.error(offer);
  const headers = { "Content-Type": "application/sdp", ...authorization(wanted) };
  const response = await fetch(wanted.url, { method: "POST", headers, body: offer });
  const text = await response.text();
  if (response.status !== 201) throw new Error(`POST ${wanted.url}: ${response.status} ${text}`);
  wanted.resource = new URL(response.headers.get("Location"), wanted.url).href;
  if (wanted.verbose) console.error(text);
  return text;
}

const authorization = ({ token }) => (token ? { Authorization: `Bearer ${token}` } : {});

/**
 * Prints what `look()` gives each second, for the time that was asked for or until SIGTERM; then deletes the session and
 * ends the process. `connect` begins it all; what it throws is the error of the result.
 */
export async function run(wanted, name, connect, look) {
  let error = null;
  let wake;
  const over = new Promise((resolve) => (wake = resolve));
  process.once("SIGTERM", wake);
  process.once("SIGINT", wake);
  const line = () => ({ client: name, role: wanted.role, seconds: Number(((performance.now() - began) / 1000).toFixed(1)), error, ...look() });
  const print = () => console.log(JSON.stringify(line()));
  const timer = setInterval(print, 1_000);
  setTimeout(wake, wanted.seconds * 1_000);
  try {
    await connect();
    await over;
  } catch (problem) {
    error = String(problem);
  }
  clearInterval(timer);
  print();
  if (wanted.resource) await fetch(wanted.resource, { method: "DELETE", headers: authorization(wanted) }).catch(() => {});
  process.exit(error ? 1 : 0);
}

/** The states of a connection and when they came, in milliseconds from the begin. */
export class States {
  list = [];

  note(state) {
    this.list.push([Math.round(performance.now() - began), state]);
  }

  get now() {
    return this.list.at(-1)?.[1] ?? "new";
  }
}
