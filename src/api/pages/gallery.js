// The gallery: the pictures that this browser keeps, and one of them opened.
import { html, nothing } from "./lit/lit-html.js";
import { repeat } from "./lit/directives/repeat.js";
import { keyed } from "./lit/directives/keyed.js";
import { signal } from "./signals.js";
import { compare } from "./compare.js";
import { bytes, seconds } from "./frame.js";
import { BYTES_MAX, bytesKept, clear, notice, pictures, remove, urlOf } from "./gallery_store.js";
import { snippets } from "./snippets.js";

const openId = signal(null);
const language = signal("curl");
const copied = signal("");
const sourceUrls = new WeakMap();

function sourceUrl(blob) {
  if (!sourceUrls.has(blob)) sourceUrls.set(blob, URL.createObjectURL(blob));
  return sourceUrls.get(blob);
}

async function copy(what, text) {
  try {
    await navigator.clipboard.writeText(text);
    copied.value = `${what} copied.`;
  } catch {
    copied.value = `The browser did not let it be copied: ${text.slice(0, 60)}`;
  }
}

const dialog = () => document.querySelector("#viewer");
export function openPicture(id) {
  openId.value = id;
  copied.value = "";
  queueMicrotask(() => dialog().open || dialog().showModal());
}
const close = () => dialog().close();
const step = (by) => {
  const at = pictures.value.findIndex((picture) => picture.id === openId.value);
  const next = pictures.value[at + by];
  if (next) openPicture(next.id);
};
const keys = (event) => {
  if (event.target.matches("input, textarea, [role=tab]")) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
};

const fileName = (picture) => `${picture.request.prompt.slice(0, 40).replace(/[^\p{L}\p{N}]+/gu, "-") || "picture"}-${picture.seed}.${picture.blob.type.split("/")[1]}`;
const FACTS = [
  ["Model", (picture) => picture.model], ["Size", (picture) => picture.size], ["Seed", (picture) => picture.seed],
  ["Steps", (picture) => picture.request.num_inference_steps], ["Guidance", (picture) => picture.request.guidance_scale],
  ["Sampler", (picture) => picture.request.scheduler], ["Negative prompt", (picture) => picture.request.negative_prompt],
  ["Strength", (picture) => picture.request.strength],
  ["LoRAs", (picture) => picture.request.loras?.map(({ name, weight }) => `${name} ${weight}`).join(", ")],
  ["Made in", (picture) => (picture.seconds > 0 ? seconds(picture.seconds) : undefined)],
];

function code(picture) {
  const texts = snippets(picture.request, picture.source ? { mask: Boolean(picture.mask) } : null);
  const names = Object.keys(texts);
  const turn = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    language.value = names[(names.indexOf(language.value) + by + names.length) % names.length];
    event.currentTarget.querySelector(`#tab-${language.value}`)?.focus();
  };
  return html`
    <section aria-label="The same request from a program">
      <div class="row spread">
        <div role="tablist" aria-label="Language" @keydown=${turn}>
          ${names.map((name) => html`
            <button role="tab" id=${`tab-${name}`} aria-selected=${name === language.value} aria-controls="code"
              tabindex=${name === language.value ? 0 : -1} @click=${() => (language.value = name)}>${name}</button>`)}
        </div>
        <button class="plain" @click=${() => copy("The request is", texts[language.value])}>Copy</button>
      </div>
      <pre id="code" role="tabpanel" tabindex="0" aria-labelledby=${`tab-${language.value}`}>${texts[language.value]}</pre>
    </section>`;
}

function details(picture, actions) {
  const deed = (name, act) => html`<button @click=${() => { act(picture); close(); }}>${name}</button>`;
  return html`
    <h2 id="viewer-title">${picture.request.prompt || "A variation"}</h2>
    <dl>${FACTS.map(([name, of]) => (of(picture) === undefined || of(picture) === "" ? nothing
      : html`<div><dt>${name}</dt><dd>${of(picture)}</dd></div>`))}</dl>
    <div class="row">
      <a class="button primary" href=${urlOf(picture)} download=${fileName(picture)}>Download</a>
      <button @click=${() => copy("The seed is", String(picture.seed))}>Copy seed</button>
      ${deed("Use settings", actions.use)}
      ${deed("Vary", actions.vary)}
      ${actions.canEdit ? deed("Edit", actions.edit) : nothing}
      <button class="danger" @click=${() => { close(); remove(picture.id); }}>Delete</button>
    </div>
    <p role="status">${copied.value}</p>
    ${code(picture)}`;
}

function viewer(actions) {
  const picture = pictures.value.find((one) => one.id === openId.value);
  return html`
    <dialog id="viewer" aria-labelledby="viewer-title" @keydown=${keys} @close=${() => (openId.value = null)}>
      <div class="row end">
        <button class="plain" @click=${() => step(-1)} aria-label="Newer picture">‹</button>
        <button class="plain" @click=${() => step(1)} aria-label="Older picture">›</button>
        <button class="plain" @click=${close} aria-label="Close">✕</button>
      </div>
      ${picture ? keyed(picture.id, html`
        <div class="viewer">
          ${picture.source ? compare(sourceUrl(picture.source), urlOf(picture), picture.request.prompt)
            : html`<img class="large" src=${urlOf(picture)} alt=${picture.request.prompt}>`}
          <div>${details(picture, actions)}</div>
        </div>`) : html`<h2 id="viewer-title">No picture</h2>`}
    </dialog>`;
}

const emptyAll = () => {
  if (confirm(`Delete all ${pictures.value.length} pictures from this browser?`)) clear();
};

// `actions`: {use, vary, edit, canEdit}: what may be done with a picture.
export function gallery(actions) {
  return html`
    <section aria-labelledby="gallery-title">
      <div class="row spread">
        <h2 id="gallery-title">Gallery</h2>
        ${pictures.value.length ? html`
          <span><small>${pictures.value.length} ${pictures.value.length === 1 ? "picture" : "pictures"}, ${bytes(bytesKept.value)} of
            ${bytes(BYTES_MAX)} in this browser</small>
          <button class="plain" @click=${emptyAll}>Empty it</button></span>` : nothing}
      </div>
      ${notice.value ? html`<p class="complaint" role="status">${notice.value}</p>` : nothing}
      ${pictures.value.length ? html`
        <ul class="pictures">${repeat(pictures.value, ({ id }) => id, (picture) => html`
          <li><button @click=${() => openPicture(picture.id)}><img src=${urlOf(picture)} alt=${picture.request.prompt || "A variation"} loading="lazy"></button></li>`)}
        </ul>` : html`<p class="empty">What you make is kept here, in this browser.</p>`}
      ${viewer(actions)}
    </section>`;
}
