// Signalling by hand: an offer goes to the address that one chooses, and the answer is shown as it came. The offer may be
// pasted from anywhere, or made by this browser, which then can take the answer and connect.

import { Api, ApiError, whepUrl, whipUrl } from "./api.js";
import { explain } from "./messages.js";
import { byId, say } from "./ui.js";

/** @type {RTCPeerConnection | null} The connection whose offer was made here. */
let pc = null;
/** The session that the last answer belongs to. */
let session = null;
let api = new Api();

/** Wires the section; `given` is the page's own access to the node, `room()` the room of its address. */
export function startByHand(given, room) {
  api = given;
  byId("hand-participant").addEventListener("input", () => showAddress(room()));
  byId("hand-face").addEventListener("change", () => {
    showAddress(room());
    // An offer to watch receives, one to publish sends: what was made for the other face does not fit.
    close();
  });
  byId("hand-make").addEventListener("click", () => run(makeOffer));
  byId("hand-send").addEventListener("click", () => run(() => send(room())));
  byId("hand-apply").addEventListener("click", () => run(applyAnswer));
  byId("hand-copy").addEventListener("click", () => run(copyAnswer));
  byId("hand-delete").addEventListener("click", () => run(endSession));
  addEventListener("pagehide", () => endSession({ leaving: true }));
  showAddress(room());
}

function address(room) {
  const participant = byId("hand-participant").value.trim();
  switch (byId("hand-face").value) {
    case "whip":
      return whipUrl(room, participant);
    case "whep":
      return whepUrl(room, participant || "test-card");
    default:
      return `/v1/rooms/${encodeURIComponent(room)}/sessions` + (participant ? `?identity=${encodeURIComponent(participant)}` : "");
  }
}

function showAddress(room) {
  say(byId("hand-address"), `POST ${address(room)}`);
}

/** Does what a button asks; a failure is said where the result would stand. */
async function run(what) {
  try {
    await what();
  } catch (error) {
    const { title, detail } = error instanceof ApiError ? explain(error) : { title: "That did not work", detail: String(error.message ?? error) };
    say(byId("hand-status"), `${title}. ${detail}`);
  }
}

/** An offer of this browser: a picture of a moving square and a tone to send, or sections to receive, or both. */
async function makeOffer() {
  close();
  const face = byId("hand-face").value;
  pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  if (face !== "whep") {
    const stream = testPicture();
    for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  }
  if (face !== "whip") {
    for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
    const received = new MediaStream();
    pc.addEventListener("track", ({ track }) => {
      received.addTrack(track);
      byId("hand-video").srcObject = received;
      byId("hand-video").hidden = false;
    });
  }
  pc.addEventListener("connectionstatechange", () => pc && say(byId("hand-status"), `Connection: ${pc.connectionState}.`));
  await pc.setLocalDescription();
  byId("hand-offer").value = pc.localDescription.sdp;
  byId("hand-answer").value = "";
  say(byId("hand-status"), "The offer is this browser's. Send it, then apply the answer.");
  showButtons();
}

/** A drawn picture: nobody has to give a camera away to look at SDP. */
function testPicture() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  const context = canvas.getContext("2d");
  const owner = pc;
  let turn = 0;
  const timer = setInterval(() => {
    if (pc !== owner) return clearInterval(timer);
    turn += 1;
    context.fillStyle = "#203038";
    context.fillRect(0, 0, 320, 180);
    context.fillStyle = "#e0b478";
    context.fillRect((turn * 6) % 300, 70, 20, 40);
  }, 66);
  return canvas.captureStream(15);
}

async function send(room) {
  const offer = byId("hand-offer").value;
  if (!offer.trim().startsWith("v=0")) throw new Error("An offer in SDP begins with v=0. Paste one, or let this browser make one.");
  // SDP lines end with CR LF (RFC 8866 section 5); a text field keeps LF only.
  const body = offer.replace(/\r?\n/g, "\r\n").replace(/(?:\r\n)*$/, "\r\n");
  byId("hand-answer").value = "";
  const response = await api.request("POST", address(room), { headers: { "Content-Type": "application/sdp", Accept: "application/sdp" }, body });
  const location = response.headers.get("Location");
  session = location ? new URL(location, response.url).href : null;
  byId("hand-answer").value = await response.text();
  say(byId("hand-status"), `${response.status} Created. Location: ${location ?? "none"}. ETag: ${response.headers.get("ETag") ?? "none"}. A session that does not connect within 15 s is forgotten.`);
  showButtons();
}

async function applyAnswer() {
  if (!pc) throw new Error("The offer was not made in this page: the answer belongs where the offer came from.");
  await pc.setRemoteDescription({ type: "answer", sdp: byId("hand-answer").value.replace(/\r?\n/g, "\r\n") });
  showButtons();
}

async function copyAnswer() {
  await navigator.clipboard.writeText(byId("hand-answer").value);
  say(byId("hand-status"), "The answer is in the clipboard.");
}

async function endSession({ leaving = false } = {}) {
  const url = session;
  session = null;
  close();
  if (!url) return;
  // A session that the node has forgotten is gone, too.
  await api.request("DELETE", url, { keepalive: leaving }).catch((error) => {
    if (error.status !== 404) throw error;
  });
  if (!leaving) say(byId("hand-status"), "The session is deleted.");
}

function close() {
  pc?.close();
  pc = null;
  byId("hand-video").srcObject = null;
  byId("hand-video").hidden = true;
  showButtons();
}

function showButtons() {
  const answered = byId("hand-answer").value !== "";
  byId("hand-copy").disabled = !answered;
  byId("hand-apply").disabled = !answered || pc?.signalingState !== "have-local-offer";
  byId("hand-delete").disabled = session === null;
}
