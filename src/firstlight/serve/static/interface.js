// The OpenAPI document as a readable page.

import * as api from "./api.js";
import { byId, make, notice } from "./elements.js";

// The document's texts mark code with backquotes and separate paragraphs with an empty line.
const marked = (text) => text.split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part));
const paragraphs = (text) => text.trim().split(/\n\s*\n/).map((part) => make("p", {}, ...marked(part)));

function kindOf(schema, whole) {
  if (!schema) return "";
  if (schema.$ref) return kindOf(whole.components.schemas[schema.$ref.split("/").at(-1)], whole) || schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map((one) => kindOf(one, whole)).filter((kind) => kind !== "null").join(" or ");
  if (schema.type === "array") return `list of ${kindOf(schema.items, whole)}`;
  if (schema.format === "binary") return "file";
  return schema.type ?? "";
}

function table(caption, head, rows) {
  return make("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
    make("table", { className: "plain" },
      make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((text) => make("td", {}, ...marked(text))))))));
}

function route(path, method, what, whole) {
  const parts = [];
  if (what.description) parts.push(...paragraphs(what.description));
  if (what.parameters?.length) {
    parts.push(table(`Parameters of ${path}`, ["parameter", "in", "kind", ""], what.parameters.map((p) => [
      `\`${p.name}\`${p.required ? "" : " (optional)"}`, p.in, kindOf(p.schema, whole), p.description ?? p.schema?.description ?? ""])));
  }
  const body = what.requestBody?.content;
  if (body) {
    const kinds = Object.entries(body).map(([name, of]) => `\`${name}\`${of.schema?.type === "object" ? "" : ` ${kindOf(of.schema, whole)}`}`);
    parts.push(make("p", {}, "Body: ", ...marked(kinds.join(", ")), ". ", what.requestBody.description ?? ""));
  }
  return make("details", { className: "route" },
    make("summary", {}, make("b", { className: "method" }, method.toUpperCase()), make("code", {}, path), make("span", { className: "faint" }, what.summary ?? "")),
    ...parts);
}

function show(whole) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(whole.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      const tag = what.tags?.[0] ?? "more";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(route(path, method, what, whole));
    }
  }
  byId("routes").replaceChildren(...[...groups].map(([tag, routes]) =>
    make("section", { className: "card" }, make("h2", {}, tag[0].toUpperCase() + tag.slice(1)), ...routes)));
  byId("routes").setAttribute("aria-busy", "false");
}

api.openapi().then(show, (error) =>
  notice(error.status === 401 ? "This service needs its token. First open the page with the address that firstlight serve printed." : error.message));
