// What the server is doing: /v1/status every two seconds, /v1/status/history every ten.
import { html, nothing } from "./lit/lit-html.js";
import { signal } from "./signals.js";
import { chart } from "./chart.js";
import { bytes, seconds, showPage } from "./frame.js";
import { ask } from "./server.js";

const status = signal(null);
const history = signal(null);
const trouble = signal("");
const said = signal("");

// A server that has no model of its own, a gateway, tells less.
async function look() {
  try {
    status.value = await ask("v1/status").catch(async (error) => {
      if (error.status !== 404) throw error;
      const health = await ask("health");
      return { ...health, ready: health.status === "ready", models: [], work: [], failures: [], gateway: true };
    });
    trouble.value = "";
  } catch (error) {
    trouble.value = error.message;
  }
}

async function lookBack() {
  history.value = await ask("v1/status/history").catch(() => history.value);
}

async function tell(model, change) {
  try {
    await ask(`v1/models/${encodeURIComponent(model)}/${change}`, { method: "POST" });
    said.value = `${model}: ${change}.`;
  } catch (error) {
    said.value = error.message;
  }
  look();
}

const figure = (value, label) => html`<div><b>${value}</b><small>${label}</small></div>`;
const quantileRow = (name, { p50, p95, p99 }) => html`
  <tr><th scope="row">${name}</th>${[p50, p95, p99].map((value) => html`<td>${value === null ? "–" : seconds(value)}</td>`)}</tr>`;

function overview(now) {
  const past = history.value;
  return html`
    <section class="card" aria-label="Now">
      <div class="figures">
        ${figure(now.ready ? html`<span class="good">ready</span>` : html`<span class="complaint">not ready</span>`, `diffused ${now.version}`)}
        ${now.gateway ? figure("gateway", "other servers make the pictures") : html`
        ${figure(now.jobs_running, "requests running")}
        ${figure(now.jobs_waiting, "waiting")}
        ${figure(seconds(now.queued_seconds), "of work at hand")}
        ${figure(bytes(now.weight_bytes), now.memory_budget_bytes ? `of ${bytes(now.memory_budget_bytes)} for models` : "of models in memory")}`}
      </div>
      ${past ? html`
        <table class="latency"><thead><tr><th scope="col">In the last hour</th><th scope="col">p50</th><th scope="col">p95</th><th scope="col">p99</th></tr></thead>
          <tbody>${quantileRow("a request takes", past.total_seconds)}${quantileRow("of that in the queue", past.queue_seconds)}</tbody></table>` : nothing}
    </section>`;
}

function charts() {
  const past = history.value;
  if (!past) return nothing;
  const { activity, interval_seconds: span } = past;
  const rate = (values) => values.map((value) => value / span);
  const mean = activity.steps.map((steps, i) => (activity.batches[i] ? steps / activity.batches[i] : null));
  const plain = (value) => (value >= 10 ? Math.round(value) : Number(value.toFixed(1)));
  return html`
    <div class="cards">
      ${chart("Steps a second", [rate(activity.steps)], plain, span)}
      ${chart("Pictures in a step", [mean], plain, span)}
      ${chart("A request: p50, p95", [activity.total_p50, activity.total_p95], seconds, span)}
      ${chart("In the queue: p95", [activity.queue_p95], seconds, span)}
      ${chart("The device works", [activity.device_seconds.map((value) => Math.min(100, (100 * value) / span))], (value) => `${Math.round(value)} %`, span)}
      ${chart("Refused and failed", [activity.rejected, activity.failed], plain, span)}
    </div>`;
}

function modelRow(model, mayChange) {
  const button = (change, label) => html`<button @click=${() => tell(model.id, change)} aria-label=${`${label} ${model.id}`}>${label}</button>`;
  return html`
    <tr>
      <td><code>${model.id}</code></td><td>${model.state}${model.pinned ? ", pinned" : ""}</td><td>${bytes(model.weight_bytes)}</td>
      <td>${model.pipeline.replace(/Pipeline$/, "")}, ${model.dtype}, ${model.device}</td>
      <td>${model.jobs_running} run, ${model.jobs_waiting} wait</td>
      ${mayChange ? html`<td class="row">${model.movable ? html`
        ${model.state === "loaded" ? button("unload", "Unload") : button("load", "Load")}
        ${model.pinned ? button("unpin", "Unpin") : button("pin", "Pin")}` : html`<small>stays loaded</small>`}</td>` : nothing}
    </tr>`;
}

const table = (title, heads, rows, empty) => html`
  <section class="card" aria-label=${title}>
    <h2>${title}</h2>
    ${rows.length ? html`<div class="scroll" tabindex="0" role="group" aria-label=${`${title}, as a table`}>
      <table><thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`
    : html`<p class="empty">${empty}</p>`}
  </section>`;

const workRow = (work) => html`
  <tr>
    <td>${work.user}</td><td><code>${work.model}</code></td><td>${work.n}</td>
    <td>${work.state === "running" ? html`<progress max="1" .value=${work.share_done} aria-label=${`${work.user}: done`}></progress>`
    : `waiting, ${work.waiting_before} before it`}</td>
    <td>${seconds(work.seconds)}</td><td>${seconds(work.seconds_left)}</td>
  </tr>`;

const failureRow = ({ time, model, code }) => html`
  <tr><td>${new Date(time * 1000).toLocaleTimeString()}</td><td><code>${model}</code></td><td><code>${code}</code></td></tr>`;

const checkRow = ([name, value]) => html`<tr><td>${name.replaceAll("_", " ")}</td><td>${typeof value === "number" ? Number(value.toFixed(1)) : String(value)}</td></tr>`;

function view() {
  const now = status.value;
  return html`
    <h1>What this server is doing</h1>
    ${trouble.value ? html`<p class="complaint" role="alert">${trouble.value}</p>` : nothing}
    <p role="status">${said.value}</p>
    ${now ? html`
      <div class="make">
        ${overview(now)}
        ${charts()}
        ${now.gateway ? nothing : table("Models", ["Model", "State", "Memory", "What it is", "Requests", ...(now.operator ? ["Change"] : [])],
    now.models.map((model) => modelRow(model, now.operator)), "None.")}
        ${table(now.operator ? "Work of everybody" : "Your work", ["Whose", "Model", "Pictures", "How far", "Since", "Left"], now.work.map(workRow),
    "Nothing runs and nothing waits.")}
        ${table("Last failures", ["When", "Model", "Reason"], now.failures.map(failureRow), "None since the start.")}
        ${table("Checks", ["What", "How"], Object.entries(now.checks).map(checkRow), "None.")}
      </div>` : nothing}`;
}

showPage("Status", view);
const refresh = () => {
  look();
  lookBack();
};
addEventListener("diffused-key", refresh);
setInterval(() => document.hidden || look(), 2000);
setInterval(() => document.hidden || lookBack(), 10_000);
refresh();
