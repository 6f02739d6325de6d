// HTTP to the node: the API's addresses, the bearer token, and errors as values that the page can explain.
// Not here: what WHIP and WHEP mean (session.js).

/** How long a request may take before the node counts as gone. */
const REQUEST_TIMEOUT_MS = 10_000;

/** A request that did not do what was asked. `status` is 0 when no answer came. */
export class ApiError extends Error {
  constructor({ status, title, detail, retryAfterSeconds = null }) {
    super(detail || title || `HTTP ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether the same request may succeed later without the user doing anything. */
  get retryable() {
    return this.status === 0 || [404, 408, 409, 410, 412, 425, 429].includes(this.status) || this.status >= 500;
  }
}

/** Retry-After in seconds or as a date (RFC 9110 section 10.2.3). */
function retryAfter(response) {
  const text = response.headers.get("Retry-After");
  if (!text) return null;
  if (/^\d+$/.test(text.trim())) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - Date.now()) / 1000));
}

/** Problem details (RFC 9457) where the node sent them. */
async function problem(response) {
  let body = {};
  if (/\bjson\b/.test(response.headers.get("Content-Type") ?? "")) {
    body = await response.json().catch(() => ({}));
  }
  return new ApiError({
    status: response.status,
    title: typeof body.title === "string" ? body.title : response.statusText,
    detail: typeof body.detail === "string" ? body.detail : "",
    retryAfterSeconds: retryAfter(response),
  });
}

/** The node that served this page. */
export class Api {
  /** Bearer token, or "" where the node asks for none. */
  token = "";

  /** The identity that the token carries: a name, null where it carries none, undefined where there is no token to read. */
  get identity() {
    const payload = this.token.split(".")[1];
    if (!payload) return undefined;
    try {
      return JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/"))).sub ?? null;
    } catch {
      return undefined;
    }
  }

  /** A request with the token; throws {@link ApiError} unless the answer is 2xx. */
  async request(method, url, { headers = {}, body, keepalive = false } = {}) {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), REQUEST_TIMEOUT_MS);
    if (this.token) headers = { ...headers, Authorization: `Bearer ${this.token}` };
    let response;
    try {
      response = await fetch(url, { method, headers, body, keepalive, cache: "no-store", signal: abort.signal });
    } catch (cause) {
      throw new ApiError({
        status: 0,
        title: "No answer",
        detail: abort.signal.aborted ? `No answer within ${REQUEST_TIMEOUT_MS / 1000} s.` : String(cause.message ?? cause),
      });
    } finally {
      clearTimeout(timer);
    }
    if (!response.ok) throw await problem(response);
    return response;
  }

  /** `{auth, version, ice_servers, demo_room}` */
  async config() {
    return (await this.request("GET", "/api/config")).json();
  }

  /** Who publishes in a room; a room that nobody opened yet is an empty one. */
  async participants(room) {
    try {
      const answer = await (await this.request("GET", `/api/rooms/${encodeURIComponent(room)}`)).json();
      return Array.isArray(answer.participants) ? answer.participants : [];
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return [];
      throw error;
    }
  }
}

/** Where one publishes; without a participant the node makes up a name. */
export function whipUrl(room, participant) {
  return `/whip/${encodeURIComponent(room)}` + (participant ? `?participant=${encodeURIComponent(participant)}` : "");
}

/** Where one watches a participant. */
export function whepUrl(room, participant) {
  return `/whep/${encodeURIComponent(room)}/${encodeURIComponent(participant)}`;
}
