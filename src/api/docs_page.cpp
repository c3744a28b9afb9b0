#include "api/endpoints.h"

namespace diffused::api {
namespace {

// Reads /openapi.json and shows it. Complete in itself, as the index page is.
constexpr std::string_view kDocsPage = R"html(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>diffused: the API</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fafafa; }
  h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
  summary { cursor: pointer; padding: .4rem 0; display: flex; flex-wrap: wrap; gap: 0 .8rem; align-items: baseline; }
  summary code { font-weight: 600; overflow-wrap: anywhere; }
  .method { width: 3.5rem; font: 600 .8rem/1.5 monospace; color: #467; }
  details { border-bottom: 1px solid #ccc; }
  details > div { padding: 0 0 1rem 1rem; }
  h3 { font-size: .95rem; margin: 1.2rem 0 .2rem; } h4 { font-size: .85rem; margin: .8rem 0 .2rem; font-weight: 600; color: #555; }
  table { border-collapse: collapse; width: 100%; font-size: .9rem; margin: .2rem 0 1rem; table-layout: fixed; }
  th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-top: 1px solid #ddd; overflow-wrap: anywhere; }
  th { font-weight: 600; color: #555; }
  th:nth-child(1) { width: 28%; } th:nth-child(2) { width: 30%; }
  table.answers th:nth-child(1) { width: 5rem; } table.answers th:nth-child(2) { width: auto; }
  small, .note { color: #666; }
  @media (prefers-color-scheme: dark) {
    body { background: #16181b; color: #ddd; } details, th, td { border-color: #333; }
    a { color: #8bf; } small, .note, th, h4 { color: #999; } .method { color: #8ac; }
  }
</style>
<h1>The API of this server</h1>
<p id="about"></p>
<p><small>For programs: <a href="openapi.json">openapi.json</a></small></p>
<main id="list"></main>
<script>
  const element = (name, text, ...children) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  };
  const code = (text) => element("code", text);
  // `This` is code; long numbers are grouped, and those beyond exact ones named.
  const number = (value) => (value > 2 ** 53 ? "2^64 - 1" : value.toLocaleString("en"));
  const prose = (text) => text.replace(/\d{5,}/g, (digits) => number(Number(digits)))
    .split("`").map((part, i) => (i % 2 ? code(part) : part));
  const cells = (kind, ...contents) => element("tr", "", ...contents.map((content) => element(kind, "", content)));
  let schemas = {};
  const nameOf = (schema) => schema.$ref?.split("/").pop() ?? "";
  const resolved = (schema) => {
    if (!schema.$ref) return schema;
    return schema.$ref.split("/").slice(1).reduce((found, step) => found[step], { components: { schemas } });
  };

  function rangeOf(schema) {
    const found = resolved(schema);
    const choices = found.anyOf ?? found.oneOf;
    if (choices && !found.properties) return [...new Set(choices.map(rangeOf))].filter((range) => range !== "null").join(", or ");
    const types = [].concat(found.type ?? []);
    const parts = [(types.length > 1 ? types.filter((type) => type !== "null") : types).join(" or ")];
    if (types.includes("array") && found.items) parts[0] = "list of " + (rangeOf(found.items) || "anything");
    if (found.enum) parts[0] = found.enum.filter((value) => value !== null).join(", ");
    if (found.const !== undefined) parts[0] = String(found.const);
    if (found.contentEncoding) parts[0] = found.contentEncoding;
    if (found.contentMediaType === "application/octet-stream") parts[0] = "file";
    if (found.minimum !== undefined && found.maximum !== undefined) parts.push(`${number(found.minimum)} to ${number(found.maximum)}`);
    else if (found.minimum !== undefined) parts.push(`${found.minimum} or more`);
    if (found.maxLength) parts.push(`at most ${number(found.maxLength)} characters`);
    if (found.maxItems) parts.push(`at most ${found.maxItems}`);
    if (found.pattern === "^[0-9]+x[0-9]+$") parts.push("WIDTHxHEIGHT");
    return parts.filter((part) => part).join("; ");
  }

  // A row for every field, and for what is inside of it.
  function addFields(table, schema, prefix) {
    for (const [name, field] of Object.entries(schema.properties ?? {})) {
      if (field.description?.startsWith("Another name")) continue;
      const others = Object.entries(schema.properties)
        .filter(([, other]) => other.description === `Another name for ${name}.`).map(([other]) => other);
      const found = resolved(field);
      const note = element("td", field.description ?? (field.$ref ? found.description : "") ?? "");
      if (schema.required?.includes(name) && !prefix.answer) note.append(element("strong", " Required."));
      if (others.length) note.append(element("div", "Also: " + others.join(", ")));
      const row = cells("td", code(prefix.path + name), rangeOf(field));
      row.append(note);
      table.append(row);
      const inside = found.type === "array" ? resolved(found.items ?? {}) : found;
      const step = found.type === "array" ? "[]." : ".";
      if (inside.properties && prefix.path.length < 20) addFields(table, inside, { ...prefix, path: prefix.path + name + step });
    }
  }

  function fieldTable(schema, answer) {
    const table = element("table", "", cells("th", "field", "values", ""));
    addFields(table, schema, { path: "", answer });
    return table;
  }

  // What a body of that type holds: one table, or one for each of the forms it may have.
  function* shapesOf(schema, answer) {
    const found = resolved(schema);
    const list = found.type === "array" ? resolved(found.items ?? {}) : found;
    const payload = found.properties?.data?.contentSchema;
    if (payload) {
      yield element("p", found.description + " Its data is one of these:");
      yield* shapesOf(payload, answer);
    } else if (list.properties) {
      if (nameOf(schema) || list !== found) yield element("h4", (list !== found ? "A list of these" : nameOf(schema)));
      yield fieldTable(list, answer);
    } else if (found.oneOf || found.anyOf) {
      if (found.description) yield element("p", found.description);
      for (const form of found.oneOf ?? found.anyOf) yield* shapesOf(form, answer);
    } else if (rangeOf(found)) {
      yield element("p", rangeOf(found) === "string" ? "" : rangeOf(found));
    }
  }

  function* bodiesOf(title, content, answer) {
    // The same fields under several types are shown once.
    const byShape = new Map();
    for (const [type, media] of Object.entries(content ?? {})) {
      const shape = JSON.stringify(media.schema);
      byShape.set(shape, [...(byShape.get(shape) ?? []), type]);
    }
    for (const [shape, types] of byShape) {
      yield element("h3", title, code(types.join(", ")));
      yield* shapesOf(JSON.parse(shape), answer);
    }
  }

  function answerTable(responses) {
    const table = element("table", "", cells("th", "status", "code or meaning"));
    table.className = "answers";
    for (const [status, answer] of Object.entries(responses)) table.append(cells("td", status === "default" ? "other" : status, answer.description));
    return table;
  }

  function inside(operation) {
    const shown = element("div", "");
    if (operation.description) shown.append(element("p", "", ...prose(operation.description)));
    if (operation.security) shown.append(element("p", "Needs an API key."));
    if (operation.parameters) {
      const table = element("table", "", cells("th", "parameter", "values", ""));
      for (const parameter of operation.parameters)
        table.append(cells("td", code(parameter.name), rangeOf(parameter.schema), `In the ${parameter.in}. ${parameter.description ?? ""}`));
      shown.append(table);
    }
    shown.append(...bodiesOf("Takes ", operation.requestBody?.content, false));
    for (const [status, answer] of Object.entries(operation.responses))
      if (status < 300) shown.append(...bodiesOf(`Answers ${status} `, answer.content, true));
    shown.append(element("h3", "Statuses"), answerTable(operation.responses));
    return shown;
  }

  // Filled when it is opened: there are many.
  function show(path, method, operation) {
    const head = element("summary", "", Object.assign(element("span", method.toUpperCase()), { className: "method" }), code(path),
      Object.assign(element("span", operation.summary), { className: "note" }));
    const details = element("details", "", head);
    details.id = `${method}${path}`;
    details.addEventListener("toggle", () => { if (details.children.length === 1) details.append(inside(operation)); });
    return details;
  }

  const groups = [["/v1/images/jobs", "Background jobs"], ["/v1/", "OpenAI's images API"], ["/sdapi/", "AUTOMATIC1111's API"], ["/", "The server"]];
  fetch("openapi.json").then((answer) => answer.json()).then((api) => {
    schemas = api.components.schemas;
    document.getElementById("about").append(...prose(api.info.description));
    const list = document.getElementById("list");
    const sections = groups.map(([, title]) => element("section", "", element("h2", title)));
    for (const [path, item] of Object.entries(api.paths)) {
      const section = sections[groups.findIndex(([start]) => path.startsWith(start))];
      for (const [method, operation] of Object.entries(item)) section.append(show(path, method, operation));
    }
    list.append(sections[1], ...[sections[0], sections[2], sections[3]].filter((section) => section.children.length > 1));
    const chosen = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (chosen) chosen.open = true;
  }).catch((error) => { document.getElementById("about").textContent = error.message; });
</script>
</html>
)html";

}  // namespace

asio::awaitable<void> show_docs(const Api&, http::Exchange& exchange) {
  return send_page(exchange, kDocsPage);
}

}  // namespace diffused::api
