// What to tell people when something fails: what happened, and what they can do. No logic of the page here.

import { ApiError } from "./api.js";
import { SessionError } from "./session.js";

/** A request that failed. */
function ofHttp(error) {
  const said = error.detail ? ` The server says: ${error.detail}` : "";
  switch (error.status) {
    case 0:
      return ["The server does not answer", "It may be restarting, or your network is down. Trying again by itself."];
    case 401:
      return ["A valid token is needed", `Paste one into the token field: there is none, or it has expired.${said}`];
    case 403:
      return ["The token does not allow this", `It may be for another room, another name, or without the right to send or to watch.${said}`];
    case 404:
    case 410:
      return ["It is no longer there", `The participant has left.${said}`];
    case 409:
      return ["Not possible at the moment", said.trim() || "Somebody else has this name, or nothing is sent yet."];
    case 413:
      return ["The offer is too large", `The browser's session description is over the server's limit.${said}`];
    case 429:
      return ["Too many requests", `The server asks to wait${error.retryAfterSeconds ? ` ${error.retryAfterSeconds} s` : " a little"}.${said}`];
    case 503:
      return ["The room or the server is full", `Trying again${error.retryAfterSeconds ? ` in ${error.retryAfterSeconds} s` : " soon"}.${said}`];
    case 400:
    case 406:
    case 415:
    case 422:
      return ["The server cannot use what this browser offers", `Another codec in the settings may work.${said}`];
    default:
      return [error.title || `The server failed (${error.status})`, said.trim() || "Trying again by itself."];
  }
}

/** `{title, detail}` for an error of a session or a request. */
export function explain(error) {
  let words;
  if (error instanceof SessionError) {
    if (error.cause instanceof ApiError) words = ofHttp(error.cause);
    else if (error.code === "media-blocked")
      words = [
        "No way for picture and sound",
        "The server answered, but no UDP packet gets through to its media port. A firewall, a VPN or a missing port mapping is the usual cause.",
      ];
    else if (error.code === "ended") words = ["The server ended the session", "It may be restarting. Trying again by itself."];
    else words = ["The connection was lost", "Trying again by itself."];
  } else if (error instanceof ApiError) words = ofHttp(error);
  else words = ["Something went wrong", String(error?.message ?? error)];
  return { title: words[0], detail: words[1] };
}

/** `{title, detail}` for a device that could not be had; null when the user simply changed their mind. */
export function explainDevice(error, what) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      if (what === "screen") return null;
      return { title: `No permission for the ${what}`, detail: "Allow it in the browser's address bar (or in the system's privacy settings), and try again." };
    case "NotFoundError":
    case "OverconstrainedError":
      return { title: `No ${what} found`, detail: "Plug one in, or choose another in the settings. You can watch without one." };
    case "NotReadableError":
    case "AbortError":
      return { title: `The ${what} cannot be opened`, detail: "Another program may be using it. Close that, and try again." };
    case "InsecureOriginError":
      return {
        title: "This page may not use cameras",
        detail: "Browsers give cameras and screens only to pages that came over HTTPS or from localhost. Watching works all the same.",
      };
    default:
      return { title: `The ${what} failed`, detail: String(error?.message ?? error) };
  }
}
