// The form: what a picture is to be.
import { html, nothing } from "./lit/lit-html.js";
import { live } from "./lit/directives/live.js";
import { change, complaintAbout, complaintAboutAll, limits, model, models, reset, settings, takesNegative } from "./settings.js";

const typed = (name) => (event) => change({ [name]: event.target.value });

// A label, a control and what the server said against its value.
function field(name, label, control, hint = "") {
  const complaint = complaintAbout(name);
  return html`
    <div class=${complaint ? "field wrong" : "field"}>
      <label for=${`f-${name}`}>${label}${hint ? html` <small>${hint}</small>` : nothing}</label>
      ${control(complaint ? `e-${name}` : nothing)}
      ${complaint ? html`<p class="complaint" id=${`e-${name}`}>${complaint}</p>` : nothing}
    </div>`;
}

const input = (name, label, { placeholder = "", hint = "", mode = "numeric" } = {}) =>
  field(name, label, (described) => html`
    <input id=${`f-${name}`} name=${name} inputmode=${mode} autocomplete="off" placeholder=${placeholder}
      aria-invalid=${described === nothing ? nothing : "true"} aria-describedby=${described}
      .value=${live(settings.value[name])} @input=${typed(name)}>`, hint);

const area = (name, label, rows, placeholder = "") => field(name, label, (described) => html`
  <textarea id=${`f-${name}`} name=${name} rows=${rows} placeholder=${placeholder} maxlength=${limits.value.prompt_characters ?? nothing}
    aria-invalid=${described === nothing ? nothing : "true"} aria-describedby=${described}
    .value=${live(settings.value[name])} @input=${typed(name)}></textarea>`);

const select = (name, label, options) => field(name, label, (described) => html`
  <select id=${`f-${name}`} name=${name} aria-invalid=${described === nothing ? nothing : "true"} aria-describedby=${described}
    @change=${typed(name)}>
    ${options.map(([value, text]) => html`<option value=${value} .selected=${settings.value[name] === value}>${text}</option>`)}
  </select>`);

// Sizes of about the model's own area, by shape; each side a multiple of what the model takes.
const SHAPES = [["Square 1:1", 1, 1], ["Landscape 3:2", 3, 2], ["Wide 16:9", 16, 9], ["Portrait 2:3", 2, 3], ["Tall 9:16", 9, 16]];
function sizeOfShape(across, down) {
  const [width, height] = model.value.default_size.split("x").map(Number);
  const multiple = model.value.size_multiple;
  const side = Math.sqrt((width * height) / (across * down));
  const round = (value) => String(Math.min(model.value.side_max, Math.max(multiple, Math.round(value / multiple) * multiple)));
  return [round(side * across), round(side * down)];
}

function sizeFields() {
  const one = model.value;
  const [width, height] = one.default_size.split("x");
  const shapes = SHAPES.map(([name, across, down]) => ({ name, size: sizeOfShape(across, down) }));
  const now = [settings.value.width || width, settings.value.height || height];
  const at = shapes.findIndex(({ size }) => size[0] === now[0] && size[1] === now[1]);
  const pick = (event) => {
    const chosen = shapes[event.target.value];
    if (chosen) change({ width: chosen.size[0], height: chosen.size[1] });
  };
  const swap = () => change({ width: now[1], height: now[0] });
  const sides = `steps of ${one.size_multiple}, at most ${Math.min(one.side_max, limits.value.side ?? one.side_max)}`;
  return html`
    <fieldset class="wide">
      <legend>Size <small>${sides}</small></legend>
      <div class="sizes">
        <div class="field"><label for="f-shape">Shape</label>
          <select id="f-shape" @change=${pick}>
            ${shapes.map(({ name, size }, i) => html`<option value=${i} .selected=${i === at}>${name} (${size.join("×")})</option>`)}
            <option value="own" .selected=${at < 0} ?disabled=${at >= 0}>By numbers</option>
          </select></div>
        ${input("width", "Width", { placeholder: width })}
        <button type="button" class="swap" @click=${swap} aria-label="Swap width and height" title="Swap width and height">⇄</button>
        ${input("height", "Height", { placeholder: height })}
      </div>
    </fieldset>`;
}

function seedField() {
  return html`
    <div class="with-button">
      ${input("seed", "Seed", { placeholder: "random", hint: settings.value.seed ? "fixed" : "new each time" })}
      <button type="button" @click=${() => change({ seed: "" })} ?disabled=${!settings.value.seed} aria-label="A new seed each time"
        title="A new seed each time">New</button>
    </div>`;
}

function loraFields() {
  const names = model.value.loras;
  if (!names.length) return nothing;
  const { loras } = settings.value;
  const set = (i, fields) => change({ loras: loras.map((lora, at) => (at === i ? { ...lora, ...fields } : lora)) });
  const complaint = complaintAbout("loras");
  return html`
    <fieldset class="wide" aria-describedby=${complaint ? "e-loras" : nothing}>
      <legend>LoRAs</legend>
      ${loras.map((lora, i) => html`
        <div class="row">
          <select aria-label=${`LoRA ${i + 1}`} @change=${(event) => set(i, { name: event.target.value })}>
            ${names.map((name) => html`<option .selected=${name === lora.name}>${name}</option>`)}
          </select>
          <input class="short" aria-label=${`Weight of LoRA ${i + 1}`} inputmode="decimal" .value=${live(String(lora.weight))}
            @input=${(event) => set(i, { weight: event.target.value })}>
          <button type="button" aria-label=${`Remove LoRA ${i + 1}`} @click=${() => change({ loras: loras.filter((_, at) => at !== i) })}>✕</button>
        </div>`)}
      <button type="button" @click=${() => change({ loras: [...loras, { name: names[0], weight: "1" }] })}>Add a LoRA</button>
      ${complaint ? html`<p class="complaint" id="e-loras">${complaint}</p>` : nothing}
    </fieldset>`;
}

const samplerName = (name) => name.replace(/Scheduler$/, "").replace(/Discrete|Multistep/g, "").replace(/([a-z])([A-Z])/g, "$1 $2");

function settingFields(edits) {
  const one = model.value;
  return html`
    <div class="grid settings">
      ${sizeFields()}
      ${input("steps", "Steps", { placeholder: String(one.default_steps), hint: `1 to ${limits.value.num_inference_steps}` })}
      ${input("guidance", "Guidance", {
    placeholder: String(one.default_guidance_scale), hint: one.true_cfg_scale ? "told to the model" : "CFG scale", mode: "decimal",
  })}
      ${one.true_cfg_scale ? input("true_cfg", "CFG scale", { placeholder: "1", hint: "above 1: a negative prompt", mode: "decimal" }) : nothing}
      ${select("scheduler", "Sampler", [["", `${samplerName(one.schedulers[0])} (the model's)`],
    ...one.schedulers.slice(1).map((name) => [name, samplerName(name)])])}
      ${seedField()}
      ${input("n", "Pictures", { hint: `1 to ${limits.value.n}` })}
      ${edits ? input("strength", "Strength", { placeholder: "the model's", hint: "0 to 1: how much changes", mode: "decimal" }) : nothing}
      ${one.flow_shift ? input("shift", "Shift", { placeholder: "the model's", mode: "decimal" }) : nothing}
      ${select("format", "Format", [["png", "PNG"], ["jpeg", "JPEG"], ["webp", "WebP"]])}
      ${select("syntax", "Prompt is", [["", "plain text"], ["a1111", "weighted: (word:1.3), [word]"]])}
      ${loraFields()}
    </div>
    <button type="button" class="plain" @click=${reset}>Back to the model's defaults</button>`;
}

const submitByKey = (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    event.currentTarget.requestSubmit();
  }
};

// Where there is room for them, the settings are open from the start.
const wide = matchMedia("(min-width: 62rem)");

// `edits`: whether there is a picture to start from; `start` is called with whether it is to be a job in the background.
export function form({ edits, start, busy, pictureField }) {
  const submit = (event) => {
    event.preventDefault();
    start(event.submitter?.value === "background");
  };
  const complaint = complaintAboutAll();
  const one = model.value;
  return html`
    <form class="make" @submit=${submit} @keydown=${submitByKey} novalidate aria-label="What to make">
      ${area("prompt", "Prompt", 4, "What the picture shows")}
      ${takesNegative(settings.value, one) ? area("negative_prompt", "Negative prompt", 2, "What it does not show") : nothing}
      ${models.value.length > 1 ? select("model", "Model", models.value.map(({ id }) => [id, id])) : nothing}
      ${one?.images_max > 0 ? pictureField() : nothing}
      <div class="row go">
        <button class="primary" ?disabled=${!one || busy} title="Ctrl+Enter">${edits ? "Change the picture" : "Make a picture"}</button>
        <button value="background" ?disabled=${!one || busy} title="It goes on when this page is closed">In the background</button>
      </div>
      ${complaint ? html`<p class="complaint" role="alert">${complaint}</p>` : nothing}
      ${one ? html`<details class="more" ?open=${wide.matches}><summary>Settings</summary>${settingFields(edits)}</details>` : nothing}
    </form>`;
}
