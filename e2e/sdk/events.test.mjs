// The events of a session against a server that fails in the ways that networks, proxies and nodes do: sockets cut, sockets that
// never open, sessions that are gone, tokens that expired.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";

import { WebSocket, WebSocketServer } from "ws";

import { EventChannel } from "../../web/sdk/events.js";
import { Http, RoomError } from "../../web/sdk/http.js";
import { until } from "../lib/wait.mjs";

/** A session that tells numbers, and keeps what it told for those who come back. */
class Scripted {
  log = [];
  hellos = [];
  commands = [];
  sockets = new Set();
  streams = new Set();
  refuseSockets = false;
  status = 200;
  resumes = true;
  deaf = false;

  constructor() {
    this.http = createServer((request, response) => this.#answer(request, response));
    this.ws = new WebSocketServer({ noServer: true });
    this.http.on("upgrade", (request, socket, head) => {
      if (this.refuseSockets || this.status !== 200) return socket.end("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      this.ws.handleUpgrade(request, socket, head, (opened) => this.#socket(opened));
    });
  }

  tell(message) {
    const numbered = { seq: this.log.length + 1, ...message };
    this.log.push(numbered);
    for (const socket of this.sockets) socket.send(JSON.stringify(numbered));
    for (const stream of this.streams) stream.write(`id: ${numbered.seq}\ndata: ${JSON.stringify(numbered)}\n\n`);
  }

  #greet(after, send) {
    const resumed = this.resumes && after !== undefined;
    const welcome = { type: "welcome", room: "r", identity: "ann", session: "1", resumed, seq: resumed ? after : this.log.length };
    send(welcome);
    if (resumed) for (const message of this.log.slice(after)) send(message);
    else {
      const snapshot = { seq: this.log.length + 1, type: "snapshot" };
      this.log.push(snapshot);
      send(snapshot);
    }
  }

  #socket(socket) {
    socket.on("message", (data) => {
      if (this.deaf) return;
      const { id, ...message } = JSON.parse(data);
      if (message.type === "hello") {
        this.hellos.push(message);
        this.#greet(message.after, (one) => socket.send(JSON.stringify(one)));
        this.sockets.add(socket);
      } else if (message.type === "ping") socket.send('{"type":"pong"}');
      else {
        this.commands.push({ by: "websocket", ...message });
        const ok = message.topic !== "forbidden";
        socket.send(JSON.stringify({ type: "reply", id, ok, ...(!ok && { problem: { status: 403, title: "No", detail: "not this topic" } }) }));
      }
    });
    socket.on("close", () => this.sockets.delete(socket));
  }

  async #answer(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    this.authorization = request.headers.authorization;
    if (this.status !== 200) return response.writeHead(this.status, { "Content-Type": "application/problem+json" }).end(JSON.stringify({ title: "no", detail: "scripted" }));
    const url = new URL(request.url, "http://x");
    if (url.pathname.endsWith("/commands")) {
      const command = JSON.parse(Buffer.concat(chunks));
      this.commands.push({ by: "post", ...command });
      return response.writeHead(200, { "Content-Type": "application/json" }).end('{"type":"reply","ok":true}');
    }
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const after = url.searchParams.has("after") ? Number(url.searchParams.get("after")) : undefined;
    this.hellos.push({ type: "stream", after });
    this.#greet(after, (one) => response.write(`data: ${JSON.stringify(one)}\n\n`));
    this.streams.add(response);
    response.on("close", () => this.streams.delete(response));
  }

  cut() {
    for (const socket of this.sockets) socket.terminate();
    for (const stream of this.streams) stream.destroy();
  }

  close() {
    this.cut();
    this.http.close();
    this.http.closeAllConnections();
  }
}

describe("the events of a session", { timeout: 60_000 }, () => {
  let server;
  let channel;
  let heard;

  before(() => {
    // Browsers tell of a failed socket by its end alone; this package throws where nobody listens for the error.
    globalThis.WebSocket = class extends WebSocket {
      constructor(url) {
        super(url);
        this.on("error", () => {});
      }
    };
  });
  after(() => {
    delete globalThis.WebSocket;
  });

  async function begin({ carrier, token = "secret", ...script } = {}) {
    server = Object.assign(new Scripted(), script);
    await new Promise((resolve) => server.http.listen(0, "127.0.0.1", resolve));
    heard = { messages: [], ups: 0, downs: 0, gone: null };
    const http = new Http(token);
    await http.renew();
    channel = new EventChannel(
      http,
      `http://127.0.0.1:${server.http.address().port}/s`,
      { message: (one) => heard.messages.push(one), up: () => (heard.ups += 1), down: () => (heard.downs += 1), gone: (error) => (heard.gone = error) },
      { carrier },
    );
    channel.start();
  }

  const seqs = () => heard.messages.filter(({ type }) => type !== "welcome").map(({ seq }) => seq);
  const untilHeard = (count) => until(`${count} messages`, 8_000, () => seqs().length >= count);

  function end() {
    channel.stop();
    server.close();
  }

  test("a socket says hello with the token, and brings what is told", async () => {
    await begin();
    await untilHeard(1);
    server.tell({ type: "speakers", speakers: [] });
    await untilHeard(2);
    assert.deepEqual(server.hellos, [{ type: "hello", token: "secret" }]);
    assert.deepEqual(seqs(), [1, 2]);
    assert.equal(channel.by, "websocket");
    end();
  });

  test("after a cut nothing is missed, and nothing comes twice", async () => {
    await begin();
    await untilHeard(1);
    for (let round = 0; round < 3; round += 1) {
      server.tell({ type: "speakers", speakers: [] });
      await untilHeard(round * 2 + 2);
      server.cut();
      server.tell({ type: "speakers", speakers: [] });
      await untilHeard(round * 2 + 3);
    }
    assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6, 7]);
    assert.ok(server.hellos.length >= 4 && server.hellos.slice(1).every(({ after }) => after > 0));
    assert.equal(heard.downs, heard.ups - 1);
    end();
  });

  test("a node that forgot the thread sends a snapshot, and numbers go on from there", async () => {
    await begin();
    await untilHeard(1);
    server.resumes = false;
    server.log = [];
    server.cut();
    await untilHeard(2);
    server.tell({ type: "speakers", speakers: [] });
    await untilHeard(3);
    assert.deepEqual(heard.messages.filter(({ type }) => type === "snapshot").length, 2);
    assert.deepEqual(seqs(), [1, 1, 2]);
    end();
  });

  test("commands are answered, and refusals are errors", async () => {
    await begin();
    await until("up", 5_000, () => channel.up);
    await channel.command({ type: "update_me", name: "Ann" });
    await assert.rejects(channel.command({ type: "send_data", topic: "forbidden", text: "x" }), (error) => error instanceof RoomError && error.status === 403 && error.detail === "not this topic");
    assert.deepEqual(server.commands.map(({ by, type }) => [by, type]), [["websocket", "update_me"], ["websocket", "send_data"]]);
    end();
  });

  test("a command whose socket is cut is done again where that does no harm", async () => {
    await begin();
    await until("up", 5_000, () => channel.up);
    server.deaf = true;
    const muting = channel.command({ type: "update_track", track: "1", muted: true });
    const sending = assert.rejects(channel.command({ type: "send_data", topic: "t", text: "x" }), (error) => error.status === 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    server.cut();
    await Promise.all([muting, sending]);
    assert.deepEqual(server.commands.map(({ by, type }) => [by, type]), [["post", "update_track"]]);
    end();
  });

  test("where no socket opens, a stream and requests take its place", async () => {
    await begin({ refuseSockets: true });
    await untilHeard(1);
    assert.equal(channel.by, "sse");
    assert.equal(server.authorization, "Bearer secret");
    server.tell({ type: "speakers", speakers: [] });
    await untilHeard(2);
    await channel.command({ type: "update_me", name: "Ann" });
    assert.ok(server.commands.some(({ by, type }) => by === "post" && type === "update_me"));
    server.cut();
    server.tell({ type: "speakers", speakers: [] });
    await untilHeard(3);
    assert.deepEqual(seqs(), [1, 2, 3]);
    end();
  });

  test("a session that is gone is told", async () => {
    await begin();
    await untilHeard(1);
    server.status = 404;
    server.cut();
    await until("gone", 8_000, () => heard.gone);
    assert.equal(heard.gone.status, 404);
    end();
  });

  test("a token that expired is renewed once it is refused; one that cannot be is the end", async () => {
    let renewed = 0;
    await begin({ token: async () => `token ${(renewed += 1)}` });
    await untilHeard(1);
    server.status = 401;
    server.cut();
    await until("another token", 8_000, () => renewed > 1);
    server.status = 200;
    server.tell({ type: "speakers", speakers: [] });
    await untilHeard(2);
    assert.ok(Number(server.hellos.at(-1).token.slice(6)) > 1);
    end();
    await begin();
    await untilHeard(1);
    server.status = 401;
    server.cut();
    await until("refused", 8_000, () => heard.gone);
    assert.equal(heard.gone.status, 401);
    end();
  });

  test("a node that is away is waited for", async () => {
    await begin();
    await untilHeard(1);
    server.status = 503;
    server.cut();
    await until("down", 5_000, () => heard.downs === 1);
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.equal(heard.gone, null);
    server.status = 200;
    channel.reconnect();
    await until("up again", 8_000, () => heard.ups === 2);
    end();
  });

  test("after the last message there is silence", async () => {
    await begin();
    await untilHeard(1);
    server.tell({ type: "closed", reason: "removed" });
    await untilHeard(2);
    await until("the socket is closed", 5_000, () => server.sockets.size === 0);
    await assert.rejects(channel.command({ type: "ping" }), RoomError);
    assert.equal(heard.downs, 0);
    end();
  });
});
