// A form that sends a request to one endpoint, and what came back.
import { html, nothing } from "./lit/lit-html.js";
import { signal } from "./signals.js";
import { base, key } from "./server.js";
import { rangeOf, resolved } from "./schema_view.js";

const SHOWN_MAX = 20_000;
const answers = new Map();  // by endpoint: a signal
const answerOf = (id) => answers.get(id) ?? answers.set(id, signal(null)).get(id);

// A small picture to begin with, in base64.
function samplePicture() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  Object.assign(canvas.getContext("2d"), { fillStyle: "#4c7ab5" }).fillRect(0, 0, 64, 64);
  return canvas.toDataURL().split(",")[1];
}

// A body that is answered as it stands: what is required, and what makes a first answer quick.
function example(path, schema) {
  const found = resolved(schema ?? {});
  const known = found.properties ?? {};
  const needed = new Set(found.required ?? []);
  if (known.prompt && !path.endsWith("/variations")) needed.add("prompt");
  const values = {
    prompt: "a kitten in front of a fireplace", image: samplePicture, init_images: () => [samplePicture()],
    imageList: () => [{ data: samplePicture(), name: "sample.png" }],
  };
  const body = {};
  for (const name of needed) {
    const value = values[name] ?? (rangeOf(known[name]).startsWith("list") ? [] : "");
    body[name] = typeof value === "function" ? value() : value;
  }
  if (known.images) body.images = [samplePicture()];
  if (known.steps) body.steps = 8;
  if (known.response_format) body.response_format = "b64_json";
  return body;
}

// Long text, such as a picture in base64, is cut for the eye.
const short = (value) => JSON.stringify(value, (_, text) => (typeof text === "string" && text.length > 200 ? `${text.slice(0, 60)}… (${text.length} characters)` : text), 2);

function picturesIn(value) {
  if (Array.isArray(value)) return value.flatMap(picturesIn);
  if (value && typeof value === "object") return Object.values(value).flatMap(picturesIn);
  return typeof value === "string" && /^(iVBORw0KGgo|\/9j\/|UklGR)/.test(value) && value.length > 200 ? [value] : [];
}

async function read(answer, show) {
  const type = answer.headers.get("content-type") ?? "";
  if (type.startsWith("image/")) return show({ pictures: [URL.createObjectURL(await answer.blob())] });
  if (type.startsWith("application/json")) {
    const body = await answer.json();
    return show({ text: short(body), pictures: picturesIn(body).map((text) => `data:image/png;base64,${text}`) });
  }
  // Events are shown as they come.
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    text = (text + value.replace(/[A-Za-z0-9+/=]{200,}/g, "…")).slice(-SHOWN_MAX);
    show({ text });
  }
}

async function submit(event, id, path, method) {
  event.preventDefault();
  const fields = event.target.elements;
  const shown = answerOf(id);
  const url = new URL(path.slice(1).replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(fields[`path ${name}`].value)), base);
  const headers = {};
  for (const field of event.target.querySelectorAll("[data-in]")) {
    if (field.value === "") continue;
    if (field.dataset.in === "query") url.searchParams.set(field.dataset.name, field.value);
    if (field.dataset.in === "header") headers[field.dataset.name] = field.value;
  }
  if (key.value) headers.Authorization = `Bearer ${key.value}`;
  let body = fields.body?.value;
  if (body !== undefined && fields.image?.files.length) {
    const form = new FormData();
    const { images, ...others } = JSON.parse(body || "{}");  // the chosen files take the place of the picture in it
    for (const [name, value] of Object.entries(others)) form.append(name, typeof value === "object" ? JSON.stringify(value) : value);
    for (const name of ["image", "mask"]) for (const file of fields[name].files) form.append(name, file);
    body = form;
  } else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
  }
  const began = performance.now();
  shown.value = { status: "Sent…" };
  try {
    const answer = await fetch(url, { method: method.toUpperCase(), headers, body });
    const took = Math.round(performance.now() - began);
    const head = { status: `${answer.status} ${answer.statusText}, ${took} ms`, headers: [...answer.headers].map((pair) => pair.join(": ")).join("\n") };
    shown.value = head;
    await read(answer, (more) => (shown.value = { ...head, ...more }));
  } catch (error) {
    shown.value = { ...shown.value, status: `No answer: ${error.message}` };
  }
}

const parameterField = (one) => html`
  <label class="field">${one.name} <small>${one.in}; ${rangeOf(one.schema)}</small>
    <input name=${one.in === "path" ? `path ${one.name}` : one.name} data-in=${one.in} data-name=${one.name} ?required=${one.required}></label>`;

const shownAnswer = ({ status, headers, text, pictures }) => html`
  <div class="answer">
    <p role="status"><b>${status}</b></p>
    ${headers ? html`<details><summary>Headers</summary><pre tabindex="0">${headers}</pre></details>` : nothing}
    ${pictures?.map((url) => html`<img src=${url} alt="The picture that was answered">`)}
    ${text ? html`<pre tabindex="0">${text}</pre>` : nothing}
  </div>`;

export function tryIt(path, method, operation) {
  const id = `${method} ${path}`;
  const content = operation.requestBody?.content;
  const shown = answerOf(id).value;
  return html`
    <form class="try" aria-label=${`Try ${id}`} @submit=${(event) => submit(event, id, path, method)}>
      ${operation.parameters?.length ? html`<div class="grid">${operation.parameters.map(parameterField)}</div>` : nothing}
      ${content ? html`
        <label class="field">Body <textarea name="body" rows="5" spellcheck="false"
          .defaultValue=${JSON.stringify(example(path, content["application/json"]?.schema), null, 2)}></textarea></label>` : nothing}
      ${content?.["multipart/form-data"]?.schema.properties?.image ? html`
        <div class="grid">
          <label class="field">image <input type="file" name="image" accept="image/*"></label>
          <label class="field">mask <input type="file" name="mask" accept="image/*"></label>
        </div>` : nothing}
      <div class="row"><button class="primary">Try it</button></div>
      ${shown ? shownAnswer(shown) : nothing}
    </form>`;
}
