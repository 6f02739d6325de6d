// What to tell people when something fails: what happened, and what they can do. No logic of the page here.

/** A request of the session API that failed (an error with `status`, `detail`, `retryAfterSeconds`). */
export function explain(error) {
  const said = error?.detail ? ` The server says: ${error.detail}` : "";
  const wait = error?.retryAfterSeconds ? `${error.retryAfterSeconds} s` : "a little";
  const words = (title, detail) => ({ title, detail });
  switch (error?.status) {
    case 0:
      return words("The server does not answer", "It may be restarting, or your network is down. Check the network, then try again.");
    case 401:
      return words("A valid token is needed", `There is none, or it has expired. Ask whoever invited you for a new link, or paste a token.${said}`);
    case 403:
      return words("The token does not allow this", `It may be for another room, or without this right. Ask whoever runs the room.${said}`);
    case 404:
      return words("It is not there", `The room or the member is gone, or this server has no room sessions.${said}`);
    case 409:
      return words("Somebody with this identity is in the room", `Leave in the other window, or use another token.${said}`);
    case 413:
      return words("The offer is too large", `This browser's session description is over the server's limit.${said}`);
    case 429:
      return words("Too many requests", `Wait ${wait}, then try again.${said}`);
    case 503:
      return words("The room or the server is full", `Try again in ${wait}, or ask somebody to leave.${said}`);
    case 400:
    case 406:
    case 415:
    case 422:
      return words("The server cannot use what this browser offers", `Another browser, or an update of this one, may help.${said}`);
    default:
      if (typeof error?.status === "number") return words(error.title || `The server failed (${error.status})`, `Try again.${said}`);
      return words("Something went wrong", String(error?.message ?? error));
  }
}

/** A device that could not be had; null when the user simply changed their mind. `what`: "camera", "microphone", "screen". */
export function explainDevice(error, what) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      if (what === "screen") return null;
      return { title: `No permission for the ${what}`, detail: "Allow it in the browser's address bar (or in the system's privacy settings), and try again. You can join without it." };
    case "NotFoundError":
    case "OverconstrainedError":
      if (what === "screen") return { title: "This browser cannot share the screen", detail: "Use a browser on a computer for that." };
      return { title: `No ${what} found`, detail: "Plug one in, or choose another in the settings. You can join without one." };
    case "NotReadableError":
    case "AbortError":
      return { title: `The ${what} cannot be opened`, detail: "Another program may be using it. Close that, and try again." };
    case "InsecureOriginError":
      return { title: "This page may not use cameras and microphones", detail: "Browsers give them only to pages that came over HTTPS or from localhost. Watching, listening and chat work all the same." };
    default:
      return { title: `The ${what} failed`, detail: String(error?.message ?? error) };
  }
}

/** Why a session is over, by the reason that the server gave. `again`: joining again makes sense. */
export function explainClosed(reason, detail = "") {
  const said = detail ? ` ${detail}` : "";
  const words = (title, text, again = true) => ({ title, detail: text + said, again });
  switch (reason) {
    case "left":
    case "deleted":
      return words("You have left", "You can join again at any time.");
    case "replaced":
      return words("You are in the room somewhere else", "Somebody joined with your identity, perhaps you in another window. That session goes on.");
    case "removed":
      return words("You were removed from the room", "Whoever runs the room ended your session.");
    case "room_closed":
      return words("The room was closed", "Whoever runs it closed it for everyone, or its time was over.");
    case "refused":
      return words("The server does not let you back in", "The token may have expired, or the room is not open to you any more.", false);
    case "expired":
      return words("Your token has expired", "Ask whoever invited you for a new link.", false);
    case "failed":
    case "consent_expired":
    case "peer_closed":
    case "timeout":
      return words("The connection was lost", "It did not come back by itself. Check the network, then join again.");
    case "draining":
    case "shutdown":
      return words("The server is going down", "It may be restarting. Join again in a minute.");
    default:
      return words("The call is over", reason ? `The server ended the session (${reason}).` : "The session ended.");
  }
}
