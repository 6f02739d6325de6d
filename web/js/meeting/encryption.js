// End-to-end encryption: the passphrase, whether it is on, and who has another one. The work on the frames is the client
// library's.

import { usePassphrase } from "./address.js";
import { nameOf } from "./call.js";
import { byId, say } from "./dom.js";
import { announce, notify, unnotify } from "./notices.js";
import { changed, on, state } from "./state.js";

/** Whether this browser can encrypt frames (WebRTC encoded transforms). */
export const canEncrypt = () => typeof RTCRtpScriptTransform === "function" || typeof RTCRtpSender?.prototype.createEncodedStreams === "function";

export function startEncryption() {
  byId("passphrase").disabled = !canEncrypt();
  byId("e2ee-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const phrase = byId("set-passphrase").value;
    if (phrase) void use(phrase);
    else say(byId("e2ee-state"), "Type a passphrase first. All sides need the same one.");
  });
  byId("e2ee-off").addEventListener("click", () => use(""));
  on("encryption phase panel", show);
}

async function use(phrase) {
  try {
    await state.room.setEncryptionKey(phrase || null);
  } catch (error) {
    notify("e2ee", { level: "error", title: "Encryption could not be switched", detail: String(error.message ?? error) });
    return;
  }
  usePassphrase(phrase);
  state.otherKeys = new Set();
  unnotify("other-key");
  announce(phrase ? "End-to-end encryption is on" : "End-to-end encryption is off");
  changed("encryption");
}

/** Somebody's frames cannot be read, or can be again. */
export function otherKey(member, other) {
  if (!member || member.isMe) return;
  if (state.otherKeys.has(member.identity) === other) return;
  if (other) state.otherKeys.add(member.identity);
  else state.otherKeys.delete(member.identity);
  if (other) {
    notify("other-key", {
      level: "warning",
      title: `${nameOf(member)} cannot be seen or heard`,
      detail: state.passphrase ? "They use another passphrase, or none. Agree on one, and set it in the settings." : "They encrypt, and you have no passphrase. Ask for it, and set it in the settings.",
    });
  } else if (state.otherKeys.size === 0) unnotify("other-key");
  changed("encryption");
}

function show() {
  const isOn = state.passphrase !== "";
  byId("e2ee-mark").hidden = state.phase !== "call" || !isOn;
  byId("e2ee-off").hidden = !isOn;
  byId("e2ee-on").disabled = !canEncrypt();
  byId("set-passphrase").disabled = !canEncrypt();
  if (state.panel !== "settings") return;
  say(byId("e2ee-on"), isOn ? "Change the passphrase" : "Encrypt");
  say(
    byId("e2ee-state"),
    !canEncrypt()
      ? "This browser cannot encrypt frames. A current Chromium, Firefox or Safari can."
      : isOn
        ? "On. Picture and sound can be read only with the passphrase; the server passes them on unread. Chat is not covered."
        : "Off. With the same passphrase on all sides, picture and sound are readable to these sides only. Chat is not covered.",
  );
}
