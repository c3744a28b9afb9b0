// The description of the API, read from openapi.json, with a form to try each endpoint.
import { html, nothing } from "./lit/lit-html.js";
import { signal } from "./signals.js";
import { showPage } from "./frame.js";
import { bodiesOf, prose, rangeOf, useSchemas } from "./schema_view.js";
import { ask } from "./server.js";
import { tryIt } from "./try_it.js";

const api = signal(null);
const trouble = signal("");
const opened = signal(new Set());  // what is filled in: there are many

const GROUPS = [["/v1/images/jobs", "Background jobs"], ["/v1/", "OpenAI's images API"], ["/sdapi/", "AUTOMATIC1111's API"], ["/", "The server"]];
const ORDER = [1, 0, 2, 3];

const parameters = (operation) => html`
  <table class="fields"><thead><tr><th>parameter</th><th>values</th><th>what it is</th></tr></thead><tbody>
    ${operation.parameters.map((one) => html`
      <tr><td><code>${one.name}</code></td><td>${rangeOf(one.schema)}</td><td>In the ${one.in}. ${one.description ?? ""}</td></tr>`)}
  </tbody></table>`;

const inside = (path, method, operation) => html`
  <div>
    ${operation.description ? html`<p>${prose(operation.description)}</p>` : nothing}
    ${operation.security ? html`<p>Needs an API key.</p>` : nothing}
    ${tryIt(path, method, operation)}
    ${operation.parameters?.length ? parameters(operation) : nothing}
    ${bodiesOf("Takes", operation.requestBody?.content, false)}
    ${Object.entries(operation.responses).filter(([status]) => status < 300)
    .map(([status, answer]) => bodiesOf(`Answers ${status}`, answer.content, true))}
    <h3>Statuses</h3>
    <table class="answers"><thead><tr><th>status</th><th>code or meaning</th></tr></thead><tbody>
      ${Object.entries(operation.responses).map(([status, answer]) => html`
        <tr><td>${status === "default" ? "other" : status}</td><td>${answer.description}</td></tr>`)}
    </tbody></table>
  </div>`;

function endpoint([path, method, operation]) {
  const id = `${method}${path}`;
  const toggle = (event) => {
    const now = new Set(opened.value);
    event.target.open ? now.add(id) : now.delete(id);
    opened.value = now;
  };
  return html`
    <details class="operation" id=${id} ?open=${opened.value.has(id)} @toggle=${toggle}>
      <summary><span class="method">${method.toUpperCase()}</span><code>${path}</code><small>${operation.summary}</small></summary>
      ${opened.value.has(id) ? inside(path, method, operation) : nothing}
    </details>`;
}

function view() {
  if (!api.value) return html`<h1>The API of this server</h1><p role="status">${trouble.value || "Reading openapi.json…"}</p>`;
  const all = Object.entries(api.value.paths)
    .flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => [path, method, operation]));
  const groupOf = ([path]) => GROUPS.findIndex(([start]) => path.startsWith(start));
  return html`
    <h1>The API of this server</h1>
    <p>${prose(api.value.info.description)}</p>
    <p><small>For programs: <a href="openapi.json">openapi.json</a></small></p>
    ${ORDER.map((group) => {
    const some = all.filter((one) => groupOf(one) === group);
    return some.length ? html`<section class="card" aria-label=${GROUPS[group][1]}><h2>${GROUPS[group][1]}</h2>${some.map(endpoint)}</section>` : nothing;
  })}`;
}

showPage("Docs", view);
try {
  const described = await ask("openapi.json");
  useSchemas(described.components.schemas);
  const chosen = decodeURIComponent(location.hash.slice(1));
  if (chosen) opened.value = new Set([chosen]);
  api.value = described;
  document.getElementById(chosen)?.scrollIntoView();
} catch (error) {
  trouble.value = error.message;
}
