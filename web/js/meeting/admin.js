// Requests of the admin API for one room: mute a track, remove a member.

import { roomUrl } from "./address.js";
import { state } from "./state.js";

async function request(method, path, body) {
  let response;
  try {
    response = await fetch(`${roomUrl()}${path}`, {
      method,
      headers: {
        ...(state.token ? { Authorization: `Bearer ${state.token}` } : {}),
        ...(body ? { "Content-Type": "application/json" } : {}),
      },
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(10_000),
    });
  } catch (cause) {
    throw Object.assign(new Error("no answer", { cause }), { status: 0 });
  }
  if (response.ok) return;
  const problem = await response.json().catch(() => ({}));
  throw Object.assign(new Error(problem.title ?? response.statusText), {
    status: response.status,
    title: problem.title ?? "",
    detail: problem.detail ?? "",
    retryAfterSeconds: Number(response.headers.get("Retry-After")) || 0,
  });
}

const member = (identity) => `/members/${encodeURIComponent(identity)}`;

/** Mutes one track of a member; only the member itself can unmute it. */
export const muteTrack = (identity, track) => request("PATCH", `${member(identity)}/tracks/${encodeURIComponent(track)}`, { muted: true });

/** Ends a member's session. */
export const removeMember = (identity) => request("DELETE", member(identity));
