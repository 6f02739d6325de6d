// Requests to the node: the bearer token, a limit of time, and problems (RFC 9457) as errors.

/** @import {ProblemDetails, TokenSource} from "./types.js" */

/** How long a request may take before the node counts as out of reach. */
const REQUEST_TIMEOUT_MS = 10_000;

/** A request or command that did not do what was asked. `status` is 0 when no answer came. */
export class RoomError extends Error {
  /**
   * @param {object} what
   * @param {number} what.status HTTP status; 0: no answer
   * @param {string} [what.type] `urn:sfumato:problem:..`
   * @param {string} [what.title]
   * @param {string} [what.detail]
   * @param {number} [what.retryAfterSeconds]
   */
  constructor({ status, type = "", title = "", detail = "", retryAfterSeconds = 0 }) {
    super(detail || title || `HTTP ${status}`);
    this.name = "RoomError";
    this.status = status;
    this.type = type;
    this.title = title;
    this.detail = detail;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether the same request may succeed later without anybody doing anything. */
  get retryable() {
    return this.status === 0 || [408, 425, 429].includes(this.status) || this.status >= 500;
  }

  /**
   * @param {ProblemDetails | undefined} problem
   * @param {number} [status]
   */
  static of(problem, status = problem?.status ?? 500) {
    const text = (/** @type {unknown} */ value) => (typeof value === "string" ? value : "");
    return new RoomError({ status, type: text(problem?.type), title: text(problem?.title), detail: text(problem?.detail) });
  }
}

/** @param {Response} response */
async function problemOf(response) {
  /** @type {ProblemDetails} */
  let body = {};
  if (/\bjson\b/.test(response.headers.get("Content-Type") ?? "")) body = await response.json().catch(() => ({}));
  const error = RoomError.of(body, response.status);
  error.title ||= response.statusText;
  error.retryAfterSeconds = Math.max(0, Number(response.headers.get("Retry-After")) || 0);
  return error;
}

/** Requests with the token that holds at the moment. */
export class Http {
  /** @type {TokenSource} */
  #source;
  /** @type {string | null} */
  #token = null;

  /** @param {TokenSource} source */
  constructor(source) {
    this.#source = source;
    if (typeof source === "string") this.#token = source;
  }

  /** Whether fresh tokens can be had. */
  get renews() {
    return typeof this.#source === "function";
  }

  /** The token of the next request; null where none is used. */
  get token() {
    return this.#token;
  }

  /** @param {TokenSource} source */
  use(source) {
    this.#source = source;
    if (typeof source !== "function") this.#token = source ?? null;
  }

  /** Asks for a fresh token, where that is possible; the one that is known otherwise. */
  async renew() {
    if (typeof this.#source === "function") this.#token = await this.#source();
    return this.#token;
  }

  /**
   * A request; throws {@link RoomError} unless the answer is 2xx.
   * @param {string} method
   * @param {string} url
   * @param {object} [options]
   * @param {Record<string, string>} [options.headers]
   * @param {unknown} [options.json] the body
   * @param {boolean} [options.keepalive] the request outlives the page
   * @param {AbortSignal} [options.signal]
   * @param {boolean} [options.stream] the time limit ends with the head of the answer
   */
  async request(method, url, { headers = {}, json, keepalive = false, signal, stream = false } = {}) {
    const abort = new AbortController();
    const onAbort = () => abort.abort(signal?.reason);
    if (signal?.aborted) onAbort();
    signal?.addEventListener("abort", onAbort);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      abort.abort();
    }, REQUEST_TIMEOUT_MS);
    const all = { ...headers };
    if (this.#token) all.Authorization = `Bearer ${this.#token}`;
    if (json !== undefined) all["Content-Type"] = "application/json";
    try {
      const response = await fetch(url, {
        method,
        headers: all,
        body: json === undefined ? undefined : JSON.stringify(json),
        keepalive,
        cache: "no-store",
        signal: abort.signal,
      });
      if (!response.ok) throw await problemOf(response);
      return response;
    } catch (cause) {
      if (cause instanceof RoomError) throw cause;
      if (signal?.aborted) throw signal.reason;
      const detail = late ? `No answer within ${REQUEST_TIMEOUT_MS / 1000} s.` : String(/** @type {any} */ (cause)?.message ?? cause);
      throw new RoomError({ status: 0, title: "No answer", detail });
    } finally {
      clearTimeout(timer);
      // A stream lives on, and ends with the caller's signal.
      if (!stream) signal?.removeEventListener("abort", onAbort);
    }
  }
}
