// Starts the node that is tested: SFUMATO_BIN, on free ports, with a directory of its own. Everything that it wrote is
// shown when a test fails to start it, and kept in memory for the tests to look at.

import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

import { sleep, until } from "./wait.mjs";

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export function freeTcpPort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A UDP port that was free a moment ago. */
export function freeUdpPort() {
  return new Promise((resolve, reject) => {
    const socket = createSocket("udp4");
    socket.once("error", reject);
    socket.bind(0, "0.0.0.0", () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    });
  });
}

/** Our environment without SFUMATO_*: the node takes those for settings. */
export function nodeEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("SFUMATO_")));
}

export class Server {
  log = "";
  exit = null;

  /**
   * `netns`: name of a network namespace to run in. `mediaAddress`: the address that candidates name, where the
   * node is not to choose. `mode`: the subcommand. */
  static async start({ mode = "demo", netns = null, mediaAddress = null, httpPort = null, mediaPort = null, args = [] } = {}) {
    const binary = process.env.SFUMATO_BIN;
    if (!binary) throw new Error("set SFUMATO_BIN to the binary that is to be tested, e.g. target/release/sfumato");
    const server = new Server();
    server.httpPort = httpPort ?? (await freeTcpPort());
    server.mediaPort = mediaPort ?? (await freeUdpPort());
    server.netns = netns;
    server.directory = await mkdtemp(path.join(tmpdir(), "sfumato-e2e-"));
    server.url = `http://localhost:${server.httpPort}`;
    const command = [
      path.resolve(binary),
      mode,
      "--listen", `127.0.0.1:${server.httpPort}`,
      "--media-port", String(server.mediaPort),
      ...(mediaAddress ? ["--advertise", mediaAddress] : []),
      ...args,
    ];
    if (netns) command.unshift("nsenter", `--net=/run/netns/${netns}`);
    server.process = spawn(command[0], command.slice(1), { cwd: server.directory, stdio: ["ignore", "pipe", "pipe"], env: nodeEnvironment() });
    const keep = (chunk) => {
      server.log = (server.log + chunk).slice(-200_000);
    };
    server.process.stdout.on("data", keep);
    server.process.stderr.on("data", keep);
    server.process.on("error", (error) => {
      server.exit = { code: null, signal: null, error };
    });
    server.process.on("exit", (code, signal) => {
      server.exit = { code, signal };
    });
    try {
      await until(`the node answers at ${server.url}`, 15_000, async () => {
        if (server.exit) throw Object.assign(new Error(`the node ended at once: ${JSON.stringify(server.exit)}`), { final: true });
        return server.answers();
      });
    } catch (error) {
      await server.stop();
      throw new Error(`${error.message}\n--- the node wrote:\n${server.log}`);
    }
    return server;
  }

  /** GET of a path; through nsenter and curl where the node lives in another network namespace. */
  async get(pathname) {
    if (!this.netns) {
      const response = await fetch(this.url + pathname, { signal: AbortSignal.timeout(3_000) });
      return { status: response.status, text: await response.text() };
    }
    const script = `fetch(process.argv[1]).then(async (r) => console.log(JSON.stringify({ status: r.status, text: await r.text() })))`;
    const child = spawn("nsenter", [`--net=/run/netns/${this.netns}`, process.execPath, "-e", script, this.url + pathname], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    let out = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    await new Promise((resolve) => child.on("close", resolve));
    return JSON.parse(out);
  }

  async answers() {
    try {
      return (await this.get("/api/config")).status === 200;
    } catch {
      return false;
    }
  }

  /** The participants of a room, as the API lists them. */
  async participants(room) {
    const { status, text } = await this.get(`/api/rooms/${room}`);
    return status === 404 ? [] : JSON.parse(text).participants;
  }

  /** Memory of the process in MiB. */
  async memory() {
    const { readFile } = await import("node:fs/promises");
    const status = await readFile(`/proc/${this.process.pid}/status`, "utf8");
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
  }

  /** SIGTERM; gives how it ended and how long that took. SIGKILL after `patience`. */
  async stop(patience = 10_000) {
    const began = Date.now();
    if (!this.exit) {
      this.process.kill("SIGTERM");
      while (!this.exit && Date.now() - began < patience) await sleep(20);
      if (!this.exit) {
        this.process.kill("SIGKILL");
        while (!this.exit) await sleep(20);
      }
    }
    await rm(this.directory, { recursive: true, force: true });
    return { ...this.exit, milliseconds: Date.now() - began };
  }
}
