// Parameters, bodies, answers and schemas as tables and text.

import { el } from "../meeting/dom.js";

const SCHEMAS = "#/components/schemas/";
/** Schemas inside schemas are shown so deep; deeper ones as JSON. */
const DEPTH_MAX = 3;

function table(heads, rows) {
  return el("div", { class: "scroll", tabIndex: 0, role: "group", "aria-label": heads.join(", ") }, el("table", {},
    el("thead", {}, el("tr", {}, ...heads.map((head) => el("th", { scope: "col", textContent: head })))),
    el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell) => el("td", {}, cell)))))));
}

const code = (text) => el("code", { textContent: text });
const words = (text) => (text ?? "").replaceAll("`", "");

/** The type of a value in one line, with links to named schemas. */
export function type(schema) {
  const span = el("span");
  const write = (...parts) => span.append(...parts);
  if (schema === true || schema === undefined || Object.keys(schema).length === 0) write("any");
  else if (schema.$ref) {
    const name = schema.$ref.slice(SCHEMAS.length);
    write(el("a", { href: `#schema-${name}`, textContent: name }));
  } else if (schema.const !== undefined) write(code(JSON.stringify(schema.const)));
  else if (schema.enum) schema.enum.forEach((value, at) => write(at > 0 ? " | " : "", code(JSON.stringify(value))));
  else if (schema.oneOf || schema.anyOf || schema.allOf) {
    const between = schema.allOf ? " & " : " | ";
    (schema.oneOf ?? schema.anyOf ?? schema.allOf).forEach((part, at) => write(at > 0 ? between : "", type(part)));
  } else if (schema.type === "array") write("list of ", type(schema.items));
  else if (schema.type === "object" && typeof schema.additionalProperties === "object") write("map of ", type(schema.additionalProperties));
  else write([schema.type ?? "any"].flat().join(" | "));
  const bounds = [["minimum", "≥"], ["maximum", "≤"], ["pattern", ""], ["default", "default"]];
  const said = bounds.filter(([key]) => schema?.[key] !== undefined && schema[key] !== null).map(([key, sign]) => `${sign} ${schema[key]}`.trim());
  if (said.length > 0) write(` (${said.join(", ")})`);
  return span;
}

/** The parameters of an operation. */
export function parameters(all) {
  if (all.length === 0) return [];
  const rows = all.map((parameter) => [code(parameter.name), parameter.in, type(parameter.schema), el("span", {},
    parameter.required ? el("span", { class: "must", textContent: "required. " }) : null, words(parameter.description))]);
  return [el("h4", { textContent: "Parameters" }), table(["Name", "In", "Type", "Meaning"], rows)];
}

function content(media, { schema: described, example }) {
  const parts = [el("p", {}, code(media), ": ", type(described))];
  if (example !== undefined) parts.push(el("pre", { tabIndex: 0, textContent: typeof example === "string" ? example : JSON.stringify(example, null, 2) }));
  return parts;
}

/** The bodies that an operation takes. */
export function bodies(request) {
  if (!request) return [];
  return [el("h4", { textContent: "Body" }), ...Object.entries(request.content).flatMap(([media, part]) => content(media, part))];
}

/** The answers and problems of an operation. */
export function answers(responses) {
  const rows = Object.entries(responses).map(([status, { description, content: contents }]) => {
    const says = description.split("\n\n").map((line) => el("p", { textContent: words(line) }));
    const forms = Object.entries(contents ?? {}).filter(([media]) => media !== "application/problem+json");
    return [code(status), el("span", {}, ...says, ...forms.map(([media, { schema: described }]) => el("p", {}, code(media), ": ", type(described))))];
  });
  return [el("h4", { textContent: "Answers" }), table(["Status", "Meaning"], rows)];
}

function properties(described) {
  const required = new Set(described.required ?? []);
  return Object.entries(described.properties ?? {}).map(([name, property]) => {
    const { description, ...rest } = typeof property === "object" ? property : {};
    return [code(name), type(rest), el("span", {}, required.has(name) ? el("span", { class: "must", textContent: "required. " }) : null, words(description))];
  });
}

/** A named schema. */
export function schema(described, depth = 0) {
  const parts = [];
  if (described.description) parts.push(el("p", { textContent: words(described.description) }));
  const rows = properties(described);
  if (rows.length > 0) parts.push(table(["Field", "Type", "Meaning"], rows));
  if (described.additionalProperties === false) parts.push(el("p", { class: "hint", textContent: "Other fields are refused." }));
  const variants = described.oneOf ?? described.anyOf ?? described.allOf ?? [];
  if (variants.length > 0 && depth < DEPTH_MAX) {
    parts.push(el("p", { class: "hint", textContent: described.allOf ? "All of:" : "One of:" }));
    for (const variant of variants) {
      const inner = variant.$ref ? [el("p", {}, type(variant))] : schema(variant, depth + 1);
      parts.push(el("div", { class: "boxed" }, ...inner));
    }
  }
  if (parts.length <= (described.description ? 1 : 0)) parts.push(el("p", {}, type({ ...described, description: undefined })));
  return parts;
}
