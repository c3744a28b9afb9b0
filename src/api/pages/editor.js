// The picture that an edit starts from, and the mask that is painted over it: by pointer, touch or keyboard.
import { html, nothing } from "./lit/lit-html.js";
import { ref } from "./lit/directives/ref.js";
import { signal } from "./signals.js";
import { Mask } from "./mask.js";
import { complaintAbout, limits, model } from "./settings.js";

const PIXELS_MAX = 40e6;
const TOOLS = [["brush", "Brush", "b"], ["eraser", "Eraser", "e"], ["rectangle", "Rectangle", "r"], ["move", "Move", "m"]];

// {blobs: the picture and further references, bitmap, mask}, or null without a picture.
export const source = signal(null);
export const trouble = signal("");
const tool = signal("brush");
const size = signal(12);  // of the brush, in hundredths of the picture's shorter side
const feather = signal("4");
const zoom = signal(1);
const version = signal(0);  // of what is painted

// Takes a picture to start from. Says why not in `trouble`.
export async function usePicture(blob) {
  trouble.value = "";
  try {
    if (limits.value.upload_bytes && blob.size > limits.value.upload_bytes)
      throw new Error(`The picture has ${Math.round(blob.size / 1e6)} MB; the server takes ${Math.round(limits.value.upload_bytes / 1e6)} MB.`);
    const bitmap = await createImageBitmap(blob).catch(() => {
      throw new Error("This is no picture that the browser can read.");
    });
    if (bitmap.width * bitmap.height > PIXELS_MAX) throw new Error(`The picture has ${bitmap.width}×${bitmap.height} pixels: too many.`);
    if (source.value && model.value.images_max > source.value.blobs.length)
      source.value = { ...source.value, blobs: [...source.value.blobs, blob] };
    else source.value = { blobs: [blob], bitmap, mask: new Mask(bitmap.width, bitmap.height) };
    zoom.value = 1;
  } catch (error) {
    trouble.value = error.message;
  }
}

export const removePicture = () => (source.value = null);

// What is sent beside the request: null without a picture.
export async function inputs() {
  if (!source.value) return null;
  const { blobs, mask } = source.value;
  return { images: blobs, mask: mask.isEmpty() ? null : await mask.toBlob(Number(feather.value) || 0) };
}

let stage = null;      // the element that is scrolled
let surface = null;    // the canvas that is seen
let cursor = null;     // the keyboard's place, in the picture's pixels
const pointers = new Map();
let pinch = null;

const brushPixels = () => Math.max(1, (size.value / 100) * Math.min(source.value.bitmap.width, source.value.bitmap.height));

function paint() {
  if (!surface || !source.value) return;
  const { bitmap, mask } = source.value;
  const context = surface.getContext("2d");
  context.globalCompositeOperation = "source-over";
  context.drawImage(bitmap, 0, 0);
  // The mask in a colour of its own, half seen through.
  const tint = new OffscreenCanvas(bitmap.width, bitmap.height);
  const tinted = tint.getContext("2d");
  tinted.drawImage(mask.canvas, 0, 0);
  tinted.globalCompositeOperation = "source-in";
  tinted.fillStyle = "#e0218a";
  tinted.fillRect(0, 0, bitmap.width, bitmap.height);
  context.globalAlpha = 0.55;
  context.drawImage(tint, 0, 0);
  context.globalAlpha = 1;
  if (cursor && document.activeElement === surface) {
    const width = Math.max(1, bitmap.width / 250);
    for (const [color, dash] of [["#000", []], ["#fff", [width * 3, width * 3]]]) {
      context.setLineDash(dash);
      Object.assign(context, { strokeStyle: color, lineWidth: width });
      context.beginPath();
      context.arc(cursor.x, cursor.y, brushPixels() / 2, 0, 7);
      context.stroke();
    }
    context.setLineDash([]);
  }
}

function changed() {
  version.value++;
  paint();
}

function pointOf(event) {
  const box = surface.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * surface.width,
    y: ((event.clientY - box.top) / box.height) * surface.height,
  };
}

const stroke = (point) => ({ kind: "stroke", erase: tool.value === "eraser", size: brushPixels(), points: [point] });
let start = null;

function down(event) {
  surface.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const { mask } = source.value;
  if (pointers.size === 2) {
    if (start) mask.undo();  // the first finger's dab was the beginning of a pinch
    start = null;
    pinch = { spread: spread(), zoom: zoom.value };
    return changed();
  }
  if (event.button !== 0 || tool.value === "move") return;
  event.preventDefault();
  surface.focus({ preventScroll: true });
  cursor = null;
  start = pointOf(event);
  mask.add(tool.value === "rectangle" ? { kind: "rectangle", x: start.x, y: start.y, width: 0, height: 0 } : stroke(start));
  changed();
}

function spread() {
  const [a, b] = [...pointers.values()];
  return Math.hypot(a.x - b.x, a.y - b.y);
}

function move(event) {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (pinch && pointers.size === 2) return zoomTo(pinch.zoom * (spread() / pinch.spread));
  if (tool.value === "move") return stage.scrollBy(before.x - event.clientX, before.y - event.clientY);
  if (!start) return;
  const { mask } = source.value;
  const to = pointOf(event);
  if (tool.value === "rectangle") mask.resize({ kind: "rectangle", ...start, width: to.x - start.x, height: to.y - start.y });
  else mask.extend(to);
  paint();
}

function up(event) {
  pointers.delete(event.pointerId);
  if (pointers.size < 2) pinch = null;
  if (start) changed();
  start = null;
}

const zoomTo = (value) => (zoom.value = Math.min(8, Math.max(1, value)));
function wheel(event) {
  if (!event.ctrlKey) return;
  event.preventDefault();
  zoomTo(zoom.value * (event.deltaY < 0 ? 1.15 : 1 / 1.15));
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
function press(event) {
  const { bitmap, mask } = source.value;
  const letter = TOOLS.find(([, , key]) => key === event.key);
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") event.shiftKey ? mask.redo() : mask.undo();
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (ARROWS[event.key]) {
    cursor ??= { x: bitmap.width / 2, y: bitmap.height / 2 };
    const by = event.shiftKey ? 1 : brushPixels() / 2;
    cursor.x = Math.min(bitmap.width, Math.max(0, cursor.x + ARROWS[event.key][0] * by));
    cursor.y = Math.min(bitmap.height, Math.max(0, cursor.y + ARROWS[event.key][1] * by));
  } else if (event.key === " " || event.key === "Enter") {
    cursor ??= { x: bitmap.width / 2, y: bitmap.height / 2 };
    mask.add(stroke({ ...cursor }));
  } else if (letter) tool.value = letter[0];
  else if (event.key === "[" || event.key === "]") size.value = Math.min(60, Math.max(1, size.value + (event.key === "]" ? 2 : -2)));
  else return;
  event.preventDefault();
  changed();
}

function mount(element) {
  surface = element ?? null;
  if (!surface) return;
  // Not passive: the page must neither scroll nor zoom under the brush.
  surface.addEventListener("wheel", wheel, { passive: false });
  requestAnimationFrame(paint);
}

function fit() {
  const { bitmap } = source.value;
  surface?.style.setProperty("--zoom", zoom.value);
  surface?.style.setProperty("aspect-ratio", `${bitmap.width} / ${bitmap.height}`);
  requestAnimationFrame(paint);
}

function act(operation) {
  source.value.mask[operation.kind === "undo" || operation.kind === "redo" ? operation.kind : "add"](operation);
  changed();
}

function maskTools() {
  const { mask } = source.value;
  void version.value;
  return html`
    <div class="tools" role="toolbar" aria-label="Mask">
      ${TOOLS.map(([value, label, letter]) => html`
        <button type="button" aria-pressed=${tool.value === value} title=${`${label} (${letter})`}
          @click=${() => (tool.value = value)}>${label}</button>`)}
      <button type="button" ?disabled=${!mask.operations.length} @click=${() => act({ kind: "undo" })} title="Undo (Ctrl+Z)">Undo</button>
      <button type="button" ?disabled=${!mask.undone.length} @click=${() => act({ kind: "redo" })}>Redo</button>
      <button type="button" @click=${() => act({ kind: "invert" })}>Invert</button>
      <button type="button" ?disabled=${mask.isEmpty()} @click=${() => act({ kind: "clear" })}>Clear</button>
    </div>
    <div class="grid sliders">
      <label>Brush <input type="range" min="1" max="60" .value=${String(size.value)} @input=${(event) => (size.value = Number(event.target.value))}></label>
      <label>Feather <input type="range" min="0" max="64" .value=${feather.value} @input=${(event) => (feather.value = event.target.value)}></label>
      <label>Zoom <input type="range" min="1" max="8" step="0.1" .value=${String(zoom.value)} @input=${(event) => zoomTo(Number(event.target.value))}></label>
    </div>`;
}

function canvasOf() {
  const { bitmap } = source.value;
  void zoom.value;
  queueMicrotask(fit);
  return html`
    <div class="stage" ${ref((element) => (stage = element))}>
      <canvas width=${bitmap.width} height=${bitmap.height} tabindex="0" role="img" class=${tool.value} ${ref(mount)}
        aria-label="The picture. Paint what is to be changed: with a pointer, or with the arrow keys and the space bar."
        @pointerdown=${down} @pointermove=${move} @pointerup=${up} @pointercancel=${up} @keydown=${press} @focus=${paint} @blur=${paint}
      ></canvas>
    </div>`;
}

const choose = (event) => {
  for (const file of event.target.files) usePicture(file);
  event.target.value = "";
};

function told() {
  if (!model.value.mask) return "This model takes no mask: all of it may change.";
  return source.value.mask.isEmpty() ? "Nothing is painted: all of it may change." : "What is painted changes.";
}

// The part of the form that has to do with a picture.
export function pictureField() {
  const complaint = trouble.value || complaintAbout("image") || complaintAbout("mask");
  const file = (label) => html`<label class="button">${label}<input type="file" accept="image/*" class="unseen" @change=${choose}></label>`;
  return html`
    <fieldset class="wide source" aria-describedby=${complaint ? "e-image" : nothing}>
      <legend>Picture to start from</legend>
      ${source.value ? html`
        ${canvasOf()}
        ${model.value.mask ? maskTools() : nothing}
        <p><small>${source.value.bitmap.width}×${source.value.bitmap.height}${source.value.blobs.length > 1 ? `, and ${source.value.blobs.length - 1} more` : ""}.
          ${told()}</small></p>
        <div class="row">
          ${model.value.images_max > source.value.blobs.length ? file("Add a reference") : file("Another picture")}
          <button type="button" @click=${removePicture}>Without a picture</button>
        </div>` : html`<div class="row">${file("Choose a picture")}<small>or drop or paste one; paint what is to change</small></div>`}
      ${complaint ? html`<p class="complaint" id="e-image" role="alert">${complaint}</p>` : nothing}
    </fieldset>`;
}
