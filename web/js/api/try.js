// "Try it": a request to this node, and its answer.

import { el, say } from "../meeting/dom.js";

/** A request without an answer is given up after so long. */
const WITHIN_MS = 15_000;
/** So much of an answer is shown. */
const SHOWN_MAX = 200_000;
/** Header fields that are shown. A page sees others only if they are exposed to it. */
const FIELDS = ["location", "etag", "link", "retry-after", "allow", "accept-patch", "accept-post", "content-type"];

let fields = 0;

function field(label, input) {
  fields += 1;
  input.id = `field-${fields}`;
  return el("div", { class: "field" }, el("label", { htmlFor: input.id, textContent: label }), input);
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The form of one operation. `parameters` are those of the document; `token` gives the token, or nothing. */
export function tryIt({ path, method, parameters, request, token }) {
  if (path.endsWith("/events")) {
    return el("div", { class: "try" }, el("p", { class: "hint", textContent: "A connection of events does not end by itself; it is not tried here." }));
  }
  const inputs = parameters.map((parameter) => ({
    parameter,
    input: el("input", { type: "text", autocomplete: "off", spellcheck: false, required: parameter.required ?? false }),
  }));
  const contents = Object.entries(request?.content ?? {});
  const example = ([, { example: given }]) => (typeof given === "string" ? given : JSON.stringify(given ?? {}, null, 2));
  const media = el("select", {}, ...contents.map(([name]) => el("option", { value: name, textContent: name })));
  const body = el("textarea", { spellcheck: false, value: contents.length > 0 ? example(contents[0]) : "" });
  media.addEventListener("change", () => { body.value = example(contents[media.selectedIndex]); });

  const status = el("p", { class: "status", role: "status" });
  const answer = el("pre", { tabIndex: 0, hidden: true, "aria-label": "The answer" });
  const send = el("button", { type: "submit", class: "primary", textContent: "Send" });
  const form = el("form", { class: "try" },
    el("h4", { textContent: "Try it" }),
    method === "get" ? null : el("p", { class: "hint", textContent: "The request goes to this node and has its effect." }),
    el("div", { class: "fields" }, ...inputs.map(({ parameter, input }) => field(`${parameter.name}${parameter.required ? "" : " (optional)"}`, input))),
    ...(contents.length > 0 ? [field("Content-Type", media), field("Body", body)] : []),
    send, status, answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    say(status, "Waiting for the answer…");
    delete status.dataset.ok;
    try {
      const { url, headers } = target(path, inputs);
      if (token()) headers.set("Authorization", `Bearer ${token()}`);
      if (contents.length > 0) headers.set("Content-Type", media.value);
      const response = await fetch(url, {
        method: method.toUpperCase(),
        headers,
        body: contents.length > 0 ? body.value : undefined,
        cache: "no-store",
        signal: AbortSignal.timeout(WITHIN_MS),
      });
      const text = await response.text();
      const shown = FIELDS.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
      status.dataset.ok = String(response.ok);
      say(status, `${response.status} ${response.statusText}`.trim());
      answer.textContent = [...shown, "", pretty(text)].join("\n").trim().slice(0, SHOWN_MAX);
      answer.hidden = answer.textContent === "";
    } catch (error) {
      status.dataset.ok = "false";
      say(status, error.name === "TimeoutError" ? `No answer came within ${WITHIN_MS / 1000} seconds.` : `The request could not be sent: ${error.message}.`);
      answer.hidden = true;
    } finally {
      send.disabled = false;
    }
  });
  return form;
}

/** The address and header fields of a request, with what was typed in. */
function target(path, inputs) {
  const query = new URLSearchParams();
  const headers = new Headers();
  let filled = path;
  for (const { parameter, input } of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value !== "" && parameter.in === "query") query.set(parameter.name, value);
    else if (value !== "" && parameter.in === "header") headers.set(parameter.name, value);
  }
  const rest = query.toString();
  return { url: `${filled}${rest ? `?${rest}` : ""}`, headers };
}
