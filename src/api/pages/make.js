// The first page: what to make, what is under way, and the gallery.
import { html, nothing } from "./lit/lit-html.js";
import { signal } from "./signals.js";
import { inputs, pictureField, source, trouble, usePicture } from "./editor.js";
import { form } from "./form.js";
import { showPage } from "./frame.js";
import { gallery } from "./gallery.js";
import * as store from "./gallery_store.js";
import { loadJobs, startJob } from "./jobs.js";
import { requestFrom, textOf } from "./png_text.js";
import { news } from "./run_list.js";
import { lookAtQueue, start } from "./runs.js";
import { underWay } from "./runs_view.js";
import { ask } from "./server.js";
import { fill, limits, model, models, refusal, requestOf, settings } from "./settings.js";

const busy = signal(false);       // a request is being sent
const trying = signal("");        // why there are no models yet
const taken = signal("");         // what a dropped picture said
const narrow = matchMedia("(max-width: 62rem)");  // the form stands above what it makes

async function loadModels() {
  try {
    const list = await ask("v1/models");
    limits.value = list.limits ?? {};
    models.value = list.data.filter((one) => one.id === (one.root ?? one.id));
    trying.value = models.value.length ? "" : "No server with a model is there yet.";
    loadJobs();
  } catch (error) {
    trying.value = error.status === 401 ? "" : error.message;
    if (error.status !== 401) setTimeout(loadModels, 2000);
  }
}

async function make(inBackground) {
  busy.value = true;
  refusal.value = null;
  try {
    const edit = await inputs();
    const request = requestOf(settings.value, Boolean(edit));
    await (inBackground ? startJob : start)(request, edit);
  } catch (error) {
    const wait = error.retrySeconds ? ` (again in ${error.retrySeconds} s)` : "";
    refusal.value = { param: error.param, message: error.message + (/again in/.test(error.message) ? "" : wait) };
  }
  busy.value = false;
  if (refusal.value) document.querySelector("[aria-invalid=true]")?.focus();
  else if (narrow.matches) document.querySelector(".beside").scrollIntoView();
}

const actions = {
  use: (picture) => fill(picture.request),
  vary: (picture) => {
    fill({ ...picture.request, seed: "" });
    make(false);
  },
  edit: (picture) => {
    source.value = null;
    usePicture(picture.blob);
    fill({ ...picture.request, seed: "" });
    document.querySelector("#main").scrollIntoView();
  },
  get canEdit() {
    return model.value?.images_max > 0;
  },
};

// A picture that is dropped or pasted: what it says of itself fills the form, and it may be what an edit starts from.
async function take(blob) {
  if (!blob.type.startsWith("image/")) {
    trouble.value = `${blob.name || "This"} is no picture.`;
    return;
  }
  const found = requestFrom(await textOf(blob));
  if (found) {
    fill(found.request);
    taken.value = `The form holds what the picture says of itself, in the words of ${found.program}.`;
  } else {
    taken.value = "The picture does not say how it was made.";
  }
  news.value = taken.value;
  if (model.value?.images_max > 0) await usePicture(blob);
}

function listenForPictures() {
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    for (const file of event.dataTransfer.files) take(file);
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) event.preventDefault();
    for (const file of files) take(file);
  });
}

const view = () => html`
  <h1 class="unseen">Make pictures</h1>
  <div class="columns">
    <div>
      ${form({ edits: Boolean(source.value), start: make, busy: busy.value, pictureField })}
      ${taken.value ? html`<p class="note">${taken.value} <button class="plain" @click=${() => (taken.value = "")}>Close</button></p>` : nothing}
      ${trying.value ? html`<p class="complaint" role="alert">${trying.value} Trying again…</p>` : nothing}
    </div>
    <div class="beside">
      ${underWay()}
      ${gallery(actions)}
    </div>
  </div>
  <div class="unseen" role="status" aria-live="polite">${news.value}</div>`;

showPage("Make", view);
addEventListener("diffused-key", loadModels);
listenForPictures();
store.load().then(loadModels);
setInterval(lookAtQueue, 2000);
