// Jobs in the background, which the server keeps and which go on without this page.
import { pictures } from "./gallery_store.js";
import { ask, blobOf, eventsOf, Refusal, send } from "./server.js";
import { bodyOf, dismiss, end, find, isOver, keep, news, pathOf, put, runs, show, update, updatePicture } from "./run_list.js";

const STATES = { queued: "waiting", in_progress: "running", completed: "done", failed: "failed", cancelled: "cancelled" };
const errorOf = (job) => (job.error ? new Refusal(job.error.message, job.error) : undefined);

// Throws the Refusal when the server does not take it.
export async function startJob(request, inputs) {
  const body = bodyOf({ ...request, background_job: true, partial_images: 3 }, inputs);
  add(await ask(pathOf(inputs), { method: "POST", body }), request, inputs);
  news.value = "The job is in the background: this page may be closed.";
}

// Of a job from another visit no more is known than what its object says.
function add(job, request, inputs) {
  const [width, height] = job.size.split("x").map(Number);
  request ??= { model: job.model, prompt: job.prompt, n: job.n, width, height };
  const key = put({
    kind: "job", id: job.id, request, inputs, state: STATES[job.status], ahead: job.queue_position ?? 0, error: errorOf(job),
  });
  if (job.status === "completed") keepAll(key, job);
  else if (!isOver(find(key))) watch(key);
}

// The jobs that the server has, those of other visits too.
export async function loadJobs() {
  let list;
  try {
    list = await ask("v1/images/jobs?limit=20");
  } catch {
    return;  // Without a key there is nothing to see, and a server may keep no jobs.
  }
  for (const job of list.data.reverse()) if (!runs.value.some((run) => run.id === job.id)) add(job);
}

const pause = (ms, abort) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  abort.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  });
});

// Follows a job to its end, also over restarts of the server: what was missed comes after the last event that was seen.
async function watch(key) {
  const { id, abort } = find(key);
  let last = "";
  for (let tries = 0; find(key) && !abort.signal.aborted;) {
    try {
      const headers = last ? { "Last-Event-ID": last } : {};
      const answer = await send(`v1/images/jobs/${id}/events`, { headers, signal: abort.signal });
      tries = 0;
      update(key, { lost: false });
      for await (const { name, id: eventId, data } of eventsOf(answer)) {
        if (eventId) last = eventId;
        if (name === "image.job.queued") update(key, { state: "waiting", ahead: data.queue_position });
        if (name === "image.job.step") updatePicture(key, data.image_index, { step: data.step, steps: data.steps });
        if (name === "image.job.preview") show(key, data.image_index, blobOf(data.b64_json, "image/png"));
        if (name === "image.job.done") return await finish(key, data.job);
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status >= 400 && error.status < 500) return end(key, "failed", error);
      update(key, { lost: true });
    }
    await pause(Math.min(500 * 2 ** tries++, 5000), abort.signal);
  }
}

async function finish(key, job) {
  if (job.status === "completed") await keepAll(key, job);
  end(key, STATES[job.status], errorOf(job));
}

// Puts a finished job's pictures into the gallery, once: those that stand there already are only shown.
async function keepAll(key, job) {
  const known = pictures.value.filter((picture) => picture.job === job.id).map((picture) => picture.seed);
  for (const [index, item] of job.result.data.entries()) {
    try {
      const made = item.b64_json ? blobOf(item.b64_json, `image/${job.result.output_format}`) : await fetched(item.url);
      await keep(key, index, made, {
        toGallery: !known.includes(item.seed), job: job.id, seed: item.seed, model: job.model, size: job.size,
        seconds: job.completed_at - job.created_at,
      });
    } catch {
      update(key, { gone: true });  // the server has made room for newer pictures
    }
  }
  update(key, { state: "done" });
}

// An answer's URL names the server as clients reach it; behind a proxy the page may know another way.
async function fetched(url) {
  const answer = await send(`images/${url.split("/").pop()}`);
  return answer.blob();
}

export const cancelJob = (key) => ask(`v1/images/jobs/${find(key).id}/cancel`, { method: "POST" });

export async function forgetJob(key) {
  await send(`v1/images/jobs/${find(key).id}`, { method: "DELETE" });
  dismiss(key);
}
