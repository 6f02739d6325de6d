// Runs one of the programs in `clients/`: a WebRTC stack that publishes or watches, and prints a line of JSON each second.

import { spawn } from "node:child_process";

import { nodeEnvironment } from "./server.mjs";
import { sleep, until } from "./wait.mjs";

export class Client {
  #text = "";
  /** The last line that it printed. */
  now = null;
  /** What it wrote to standard error, for a test that fails. */
  said = "";
  exit = null;

  /** `command`: the program and its first arguments. `role`: `publish` or `watch`. `flags`: what takes no value. */
  constructor(command, role, url, options = {}, flags = []) {
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
    this.command = [...command, role, url, ...args, ...flags];
    this.process = spawn(this.command[0], this.command.slice(1), { stdio: ["ignore", "pipe", "pipe"], env: nodeEnvironment() });
    this.process.stdout.on("data", (chunk) => this.#read(chunk));
    this.process.stderr.on("data", (chunk) => (this.said = (this.said + chunk).slice(-20_000)));
    this.process.on("error", (error) => (this.exit = { error: error.message }));
    this.process.on("exit", (code, signal) => (this.exit ??= { code, signal }));
  }

  #read(chunk) {
    const lines = (this.#text + chunk).split("\n");
    this.#text = lines.pop();
    for (const line of lines) {
      if (line.startsWith("{")) this.now = JSON.parse(line);
      else this.said += `${line}\n`;
    }
  }

  /** Until `look` finds in its last line what is waited for; fails at once where the program ended. */
  async until(what, limit, look) {
    try {
      return await until(what, limit, () => {
        if (this.now && look(this.now)) return this.now;
        if (this.exit) throw Object.assign(new Error(`the client ended: ${JSON.stringify(this.exit)}`), { final: true });
        return null;
      });
    } catch (error) {
      throw new Error(`${error.message}\n--- ${this.command.join(" ")}\n--- last: ${JSON.stringify(this.now)}\n--- it wrote:\n${this.said.slice(-4_000)}`, { cause: error });
    }
  }

  /** SIGTERM, on which it deletes its session and prints its last line; SIGKILL after five seconds. Gives the last line. */
  async stop() {
    if (!this.exit) this.process.kill("SIGTERM");
    const end = Date.now() + 5_000;
    while (!this.exit && Date.now() < end) await sleep(20);
    if (!this.exit) this.process.kill("SIGKILL");
    return this.now;
  }
}
