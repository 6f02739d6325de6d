// Watching: a WHEP session that receives one participant's picture and sound.

import { whepUrl } from "./api.js";
import { Session } from "./session.js";

export class WhepSession extends Session {
  /** What arrives; tracks are added as the answer names them. */
  stream = new MediaStream();

  constructor(api, { room, participant, iceServers }) {
    super(api, whepUrl(room, participant), iceServers);
    this.participant = participant;
  }

  prepare(pc) {
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addEventListener("track", ({ track }) => {
      this.stream.addTrack(track);
      this.dispatchEvent(new CustomEvent("track", { detail: track }));
    });
  }
}
