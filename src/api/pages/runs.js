// Requests that are streamed to this page: previews, steps, places in the queue, cancelling.
import { ask, blobOf, eventsOf, Refusal, send } from "./server.js";
import { bodyOf, dismiss, end, find, keep, news, pathOf, put, runs, show, update, updatePicture } from "./run_list.js";

// Sends the request and shows what becomes of it. Throws the Refusal when the server does not take it.
export async function start(request, inputs) {
  const key = put({ kind: "stream", request, inputs, state: "sending", sent: performance.now() });
  const body = bodyOf({ ...request, stream: true, partial_images: 3, progress_events: true }, inputs);
  let answer;
  try {
    answer = await send(pathOf(inputs), { method: "POST", body, signal: find(key).abort.signal });
  } catch (error) {
    if (error.name === "AbortError") return end(key, "cancelled");
    dismiss(key);
    throw error;
  }
  const ahead = Number(answer.headers.get("x-diffused-queue-position"));
  const seconds = Number(answer.headers.get("x-diffused-estimated-start-seconds"));
  update(key, {
    state: "waiting", jobName: answer.headers.get("x-diffused-job"), ahead, starts: performance.now() + seconds * 1000,
  });
  news.value = ahead > 0 ? `Waiting: ${ahead} before it.` : "Begun.";
  follow(key, answer);
}

async function follow(key, answer) {
  try {
    for await (const { name, data } of eventsOf(answer)) {
      if (name === "error") throw new Refusal(data.error.message, data.error);
      if (name.endsWith(".progress")) updatePicture(key, data.image_index, { step: data.step, steps: data.steps });
      if (name.endsWith(".partial_image")) show(key, data.image_index, blobOf(data.b64_json, `image/${data.output_format}`));
      if (name.endsWith(".completed")) await keepCompleted(key, data);
    }
    const run = find(key);
    if (run && !run.pictures.every((picture) => picture.kept)) throw new Refusal("The connection to the server was lost.");
    end(key, "done");
  } catch (error) {
    if (error.name === "AbortError") end(key, "cancelled");
    else end(key, "failed", error);
  }
}

function keepCompleted(key, data) {
  const { request, sent } = find(key);
  return keep(key, data.image_index, blobOf(data.b64_json, `image/${data.output_format}`), {
    seed: data.seed, model: request.model, size: data.size, seconds: (performance.now() - sent) / 1000,
  });
}

// Frees the device within one step.
export const cancel = (key) => find(key).abort.abort();

export function again(key) {
  const { request, inputs } = find(key);
  dismiss(key);
  return start(request, inputs);
}

// Where the waiting ones stand now, from the server, while there are any.
export async function lookAtQueue() {
  const waiting = runs.value.filter((run) => run.kind === "stream" && run.state === "waiting" && run.jobName);
  if (!waiting.length) return;
  const { work } = await ask("v1/status").catch(() => ({ work: [] }));
  for (const run of waiting) {
    const found = work.find((item) => item.id === run.jobName);
    if (found && found.waiting_before !== null) update(run.key, { ahead: found.waiting_before });
  }
}
