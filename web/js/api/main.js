// The reference of the HTTP API: shows the document that the node makes of itself.

import { byId, el, say } from "../meeting/dom.js";
import { recallHere, rememberHere } from "../meeting/store.js";
import { startTheme } from "../meeting/theme.js";
import { answers, bodies, parameters, schema } from "./describe.js";
import { tryIt } from "./try.js";

const METHODS = ["get", "post", "patch", "put", "delete"];

/** Opens the entry that the address names, so that links between entries lead somewhere. */
function openTarget() {
  const target = byId(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName !== "DETAILS") return;
  target.open = true;
  target.scrollIntoView();
  target.querySelector("summary").focus({ preventScroll: true });
}

const firstSentence = (text) => (text ?? "").replaceAll("`", "").split(/(?<=\.)\s/)[0];

function entry(id, head, fill) {
  const details = el("details", { class: "entry", id }, el("summary", {}, ...head));
  // The inside is made when it is first opened: there are hundreds of rows in all.
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(el("div", { class: "inside" }, ...fill()));
  });
  return details;
}

function operation(path, method, described, shared) {
  const all = [...shared, ...(described.parameters ?? [])];
  const head = [
    el("span", { class: "method", "data-method": method, textContent: method.toUpperCase() }),
    el("code", { textContent: path }),
    el("span", { class: "says", textContent: described.summary }),
  ];
  const details = entry(`op-${described.operationId}`, head, () => [
    el("p", { class: "hint", textContent: described.security.length === 0 ? "Needs no token." : "Needs a token, unless the node is without authentication." }),
    ...parameters(all),
    ...bodies(described.requestBody),
    ...answers(described.responses),
    tryIt({ path, method, parameters: all, request: described.requestBody, token: () => byId("token").value.trim() }),
  ]);
  details.dataset.words = `${method} ${path} ${described.summary} ${described.operationId}`.toLowerCase();
  return details;
}

function show(document_) {
  say(byId("about"), `${document_.info.description.replaceAll("`", "")} Version ${document_.info.version}.`);
  const operations = Object.entries(document_.paths).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]).map((method) => ({ path, method, described: methods[method], shared: methods.parameters ?? [] })));
  for (const tag of document_.tags) {
    const entries = operations.filter(({ described }) => described.tags.includes(tag.name));
    byId("operations").append(el("section", {},
      el("h2", { textContent: tag.name }),
      el("p", { class: "hint", textContent: tag.description.replaceAll("`", "") }),
      ...entries.map(({ path, method, described, shared }) => operation(path, method, described, shared))));
  }
  for (const [name, described] of Object.entries(document_.components.schemas).sort(([a], [b]) => a.localeCompare(b))) {
    const head = [el("code", { textContent: name }), el("span", { class: "says", textContent: firstSentence(described.description) })];
    byId("schemas").append(entry(`schema-${name}`, head, () => schema(described)));
  }
}

function filter() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const section of byId("operations").children) {
    let any = false;
    for (const details of section.querySelectorAll("details.entry")) {
      details.hidden = !words.every((word) => details.dataset.words.includes(word));
      if (!details.hidden) count += 1;
      any ||= !details.hidden;
    }
    section.hidden = !any;
  }
  say(byId("found"), words.length === 0 ? "" : `${count} ${count === 1 ? "operation" : "operations"}`);
}

async function start() {
  startTheme();
  byId("token").value = recallHere("token");
  byId("token").addEventListener("change", () => rememberHere("token", byId("token").value.trim()));
  byId("find").addEventListener("input", filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  try {
    const response = await fetch("v1/openapi.json");
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    show(await response.json());
  } catch (error) {
    say(byId("about"), `The description of the API could not be loaded (${error.message}). Load the page again.`);
    return;
  }
  document.body.dataset.ready = "";
  addEventListener("hashchange", openTarget);
  openTarget();
}

start();
