// What is being made: the list that streamed requests (runs.js) and jobs in the background (jobs.js) share.
import { signal } from "./signals.js";
import { blend } from "./blend.js";
import * as gallery from "./gallery_store.js";
import { jsonOf } from "./settings.js";

// The newest first: {key, kind: "stream" or "job", request, inputs, state, pictures: [{url, step, steps, kept}], ...}. A state
// is "sending", "waiting", "running", "done", "failed" or "cancelled". `inputs` is what an edit starts from: {images, mask}.
export const runs = signal([]);
// What a screen reader is told.
export const news = signal("");

let lastKey = 0;
export function put(run) {
  const key = ++lastKey;
  const pictures = Array.from({ length: Number(run.request.n) || 1 }, () => ({ step: 0, steps: 0 }));
  runs.value = [{ key, pictures, abort: new AbortController(), ...run }, ...runs.value];
  return key;
}
export const find = (key) => runs.value.find((run) => run.key === key);
export const update = (key, fields) => (runs.value = runs.value.map((run) => (run.key === key ? { ...run, ...fields } : run)));
export const isOver = (run) => ["done", "failed", "cancelled"].includes(run.state);

export function updatePicture(key, index, fields) {
  const run = find(key);
  if (!run) return;
  const pictures = run.pictures.map((picture, i) => (i === index ? { ...picture, ...fields } : picture));
  update(key, { state: "running", pictures, begun: run.begun ?? performance.now() });
}

// Shows a picture, unfinished or not, in place of the one before.
export function show(key, index, blob, fields = {}) {
  const old = find(key)?.pictures[index]?.url;
  if (old) URL.revokeObjectURL(old);
  updatePicture(key, index, { url: URL.createObjectURL(blob), ...fields });
}

export function dismiss(key) {
  for (const picture of find(key)?.pictures ?? []) if (picture.url) URL.revokeObjectURL(picture.url);
  runs.value = runs.value.filter((run) => run.key !== key);
}

export function end(key, state, error) {
  const run = find(key);
  if (!run) return;
  update(key, { state, error });
  news.value = { done: "The picture is finished.", cancelled: "Cancelled.", failed: `Failed: ${error?.message}` }[state];
  // What was streamed and is finished stands in the gallery.
  if (state === "done" && run.kind === "stream") dismiss(key);
}

// Shows a finished picture, and puts it into the gallery. What a mask kept is kept to the pixel.
export async function keep(key, index, made, { toGallery = true, ...facts }) {
  const { request, inputs } = find(key);
  const blob = inputs?.mask ? await blend(inputs.images[0], inputs.mask, made) : made;
  show(key, index, blob, { step: 1, steps: 1, kept: true });
  if (!toGallery) return;
  await gallery.add({
    blob, request: { ...request, seed: facts.seed, n: 1 }, source: inputs?.images[0], mask: inputs?.mask, ...facts,
  });
}

export const pathOf = (inputs) => `v1/images/${inputs ? "edits" : "generations"}`;

// The body of a request: JSON, or a form with what an edit starts from.
export function bodyOf(request, inputs) {
  if (!inputs) return jsonOf(request);
  const form = new FormData();
  for (const [name, value] of Object.entries(request))
    form.append(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  for (const image of inputs.images) form.append("image[]", image, "picture.png");
  if (inputs.mask) {
    form.append("mask", inputs.mask, "mask.png");
    form.append("mask_mode", "luminance");
  }
  return form;
}
