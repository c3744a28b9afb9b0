// JSON schemas, in words and tables.
import { html, nothing } from "./lit/lit-html.js";

let schemas = {};
export const useSchemas = (found) => (schemas = found);

// Long numbers are grouped, and those beyond exact ones named; `this` is code.
export const number = (value) => (value > 2 ** 53 ? "2^64 - 1" : value.toLocaleString("en"));
export const prose = (text) => text.replace(/\d{5,}/g, (digits) => number(Number(digits)))
  .split("`").map((part, i) => (i % 2 ? html`<code>${part}</code>` : part));

const nameOf = (schema) => schema.$ref?.split("/").pop() ?? "";
export function resolved(schema) {
  if (!schema.$ref) return schema;
  return schema.$ref.split("/").slice(1).reduce((found, step) => found[step], { components: { schemas } });
}

// "integer; 1 to 12"
export function rangeOf(schema) {
  const found = resolved(schema);
  const choices = found.anyOf ?? found.oneOf;
  if (choices && !found.properties) return [...new Set(choices.map(rangeOf))].filter((range) => range !== "null").join(", or ");
  const types = [].concat(found.type ?? []);
  const parts = [(types.length > 1 ? types.filter((type) => type !== "null") : types).join(" or ")];
  if (types.includes("array") && found.items) parts[0] = `list of ${rangeOf(found.items) || "anything"}`;
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

// A row for every field, and for what is inside of it. Other names of a field stand in its own row.
function* fieldRows(schema, path, answer) {
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    if (field.description?.startsWith("Another name")) continue;
    const others = Object.entries(schema.properties)
      .filter(([, other]) => other.description === `Another name for ${name}.`).map(([other]) => other);
    const found = resolved(field);
    yield html`
      <tr><td><code>${path + name}</code></td><td>${rangeOf(field)}</td>
        <td>${field.description ?? (field.$ref ? found.description : "") ?? ""}
          ${schema.required?.includes(name) && !answer ? html`<strong> Required.</strong>` : nothing}
          ${others.length ? html`<div>Also: ${others.join(", ")}</div>` : nothing}</td></tr>`;
    const list = found.type === "array";
    const inside = list ? resolved(found.items ?? {}) : found;
    if (inside.properties && path.length < 20) yield* fieldRows(inside, `${path}${name}${list ? "[]." : "."}`, answer);
  }
}

const fieldTable = (schema, answer) => html`
  <table class="fields"><thead><tr><th>field</th><th>values</th><th>what it is</th></tr></thead>
    <tbody>${[...fieldRows(schema, "", answer)]}</tbody></table>`;

// What a body of that type holds: one table, or one for each of the forms it may have.
function* shapesOf(schema, answer) {
  const found = resolved(schema);
  const list = found.type === "array" ? resolved(found.items ?? {}) : found;
  const payload = found.properties?.data?.contentSchema;
  if (payload) {
    yield html`<p>${found.description} Its data is one of these:</p>`;
    yield* shapesOf(payload, answer);
  } else if (list.properties) {
    if (nameOf(schema) || list !== found) yield html`<h4>${list !== found ? "A list of these" : nameOf(schema)}</h4>`;
    yield fieldTable(list, answer);
  } else if (found.oneOf || found.anyOf) {
    if (found.description) yield html`<p>${found.description}</p>`;
    for (const form of found.oneOf ?? found.anyOf) yield* shapesOf(form, answer);
  } else if (rangeOf(found) && rangeOf(found) !== "string") {
    yield html`<p>${rangeOf(found)}</p>`;
  }
}

// The bodies of a request or an answer; the same fields under several types are shown once.
export function bodiesOf(title, content, answer) {
  const byShape = new Map();
  for (const [type, media] of Object.entries(content ?? {})) {
    const shape = JSON.stringify(media.schema);
    byShape.set(shape, [...(byShape.get(shape) ?? []), type]);
  }
  return [...byShape].map(([shape, types]) => html`
    <h3>${title} <code>${types.join(", ")}</code></h3>${[...shapesOf(JSON.parse(shape), answer)]}`);
}
