// The link of the room, as text and as a QR code.

import { joinLink } from "./address.js";
import { byId, say } from "./dom.js";
import { openPanel } from "./panels.js";
import { draw, encode } from "./qr.js";
import { on, state } from "./state.js";

export function startShare() {
  byId("alone-share").addEventListener("click", () => openPanel("share"));
  byId("share-key").addEventListener("change", show);
  byId("share-link").addEventListener("focus", (event) => event.currentTarget.select());
  byId("copy-link").addEventListener("click", copy);
  on("panel encryption", () => state.panel === "share" && show());
}

function show() {
  byId("share-key-field").hidden = state.passphrase === "";
  const link = joinLink({ withKey: byId("share-key").checked });
  byId("share-link").value = link;
  const words = [];
  if (state.config.auth === "token") words.push("Who opens it needs a token of their own: yours is not in the link.");
  if (state.passphrase && !byId("share-key").checked) words.push("Tell the passphrase in another way.");
  say(byId("share-status"), words.join(" "));
  byId("qr").hidden = false;
  try {
    draw(byId("qr"), encode(link));
  } catch {
    // A link with a very long passphrase does not fit; it can be copied all the same.
    byId("qr").hidden = true;
    say(byId("share-status"), "The link is too long for a QR code. Copy it instead.");
  }
}

async function copy() {
  const field = byId("share-link");
  try {
    await navigator.clipboard.writeText(field.value);
    say(byId("share-status"), "Copied.");
  } catch {
    // Pages that came over plain HTTP have no clipboard; the text is marked for the user's own copy.
    field.focus();
    field.select();
    say(byId("share-status"), "The browser does not let the page copy. The link is marked: copy it with Ctrl+C or ⌘C.");
  }
}
