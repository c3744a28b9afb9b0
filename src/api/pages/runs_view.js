// What is under way: pictures as they form, places in the queue, and jobs.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { signal } from "./signals.js";
import { seconds } from "./frame.js";
import { cancelJob, forgetJob } from "./jobs.js";
import { dismiss, isOver, runs } from "./run_list.js";
import { again, cancel } from "./runs.js";
import { refusal } from "./settings.js";

// Turns once a second while something is shown that counts down.
const clock = signal(performance.now());
setInterval(() => {
  if (runs.value.some((run) => !isOver(run))) clock.value = performance.now();
}, 500);

function share(run) {
  const parts = run.pictures.map(({ step, steps, kept }) => (kept ? 1 : steps ? step / (steps + 1) : 0));
  return parts.reduce((sum, part) => sum + part, 0) / parts.length;
}

function told(run) {
  if (run.gone) return "Finished; the server no longer has its pictures.";
  if (run.lost) return "The server cannot be reached; trying again…";
  if (run.state === "sending") return "Sending…";
  if (run.state === "waiting") {
    const place = run.ahead > 0 ? `${run.ahead} before it` : "next";
    const wait = (run.starts - clock.value) / 1000;
    return `Waiting: ${place}${wait > 1 ? `, about ${seconds(wait)}` : ""}.`;
  }
  if (run.state === "running") {
    const { step, steps } = run.pictures.find((picture) => !picture.kept) ?? run.pictures.at(-1);
    const done = share(run);
    const spent = (Math.max(clock.value, run.begun ?? 0) - run.begun) / 1000;
    const left = done > 0.05 && spent > 0.5 ? `, about ${seconds(spent / done - spent)} left` : "";
    return steps ? `Step ${step} of ${steps}${left}.` : "Begun.";
  }
  return { done: "Finished.", cancelled: "Cancelled.", failed: `Failed: ${run.error?.message}` }[run.state];
}

const sizeOf = ({ width, height }) => (width && height ? [width, height] : [1, 1]);

function picture({ url, step }, index, run) {
  const [width, height] = sizeOf(run.request);
  return url ? html`<img src=${url} alt=${`Picture ${index + 1}, ${step ? `at step ${step}` : "unfinished"}`}>`
    : html`<svg class="blank" viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${`Picture ${index + 1}: nothing to see yet`}></svg>`;
}

const tell = (error) => (refusal.value = { param: error.param, message: error.message });
function buttons(run) {
  const { key } = run;
  const isJob = run.kind === "job";
  if (!isOver(run)) return html`<button @click=${() => (isJob ? cancelJob(key).catch(tell) : cancel(key))}>Cancel</button>`;
  return html`
    ${run.state === "failed" && !isJob ? html`<button @click=${() => again(key).catch(tell)}>Try again</button>` : nothing}
    ${isJob ? html`<button @click=${() => forgetJob(key).catch(tell)}>Forget the job</button>`
    : html`<button @click=${() => dismiss(key)}>Close</button>`}`;
}

const card = (run) => html`
  <li class=${`run ${run.state}`}>
    <div class="strip">${run.pictures.map((one, index) => picture(one, index, run))}</div>
    <div>
      <p class="prompt">${run.kind === "job" ? html`<span class="tag">in the background</span> ` : nothing}${run.request.prompt || "A variation"}</p>
      ${isOver(run) ? nothing : html`<progress max="1" .value=${share(run)} aria-label="Progress"></progress>`}
      <p class="told">${told(run)}</p>
      <div class="row">${buttons(run)}</div>
    </div>
  </li>`;

export const underWay = () => (runs.value.length ? html`
  <section aria-labelledby="runs-title">
    <h2 id="runs-title">Under way</h2>
    <ul class="runs">${repeat(runs.value, ({ key }) => key, card)}</ul>
  </section>` : nothing);
