// What the form holds. A field that is empty is the model's default; what is filled in outlives a reload.
import { computed, effect, signal } from "./signals.js";

const KEPT = "diffused.settings";
export const EXAMPLE = "a kitten in front of a fireplace";
const EMPTY = {
  prompt: EXAMPLE, negative_prompt: "", model: "", width: "", height: "", steps: "", guidance: "", scheduler: "",
  true_cfg: "", seed: "", n: "1", strength: "", shift: "", format: "png", syntax: "", loras: [],
};

function kept() {
  try {
    return { ...EMPTY, ...JSON.parse(localStorage.getItem(KEPT)) };
  } catch {
    return EMPTY;
  }
}

export const settings = signal(kept());
effect(() => {
  try {
    localStorage.setItem(KEPT, JSON.stringify(settings.value));
  } catch {
    // A full or forbidden store: the form works all the same.
  }
});

export const change = (fields) => (settings.value = { ...settings.value, ...fields });
export const reset = () => (settings.value = { ...EMPTY, prompt: settings.value.prompt, model: settings.value.model });

// The models that are served, under their own names, and the server's limits.
export const models = signal([]);
export const limits = signal({});
export const model = computed(() => models.value.find((one) => one.id === settings.value.model) ?? models.value[0]);

// What the last request was refused for: {param, message}.
export const refusal = signal(null);

// Each field of the form with the names under which the server may complain of it.
export const NAMES = {
  prompt: ["prompt"], negative_prompt: ["negative_prompt"], model: ["model"], width: ["width", "size"], height: ["height"],
  steps: ["num_inference_steps"], guidance: ["guidance_scale"], true_cfg: ["true_cfg_scale"], scheduler: ["scheduler"], seed: ["seed"], n: ["n"],
  strength: ["strength"], shift: ["flow_shift"], format: ["output_format"], syntax: ["prompt_syntax"], loras: ["loras"],
  image: ["image", "images"], mask: ["mask"],
};
export const complaintAbout = (field) => {
  const found = refusal.value;
  const name = found?.param?.replace(/\[.*/, "");
  return found && NAMES[field]?.includes(name) ? found.message : "";
};
// What concerns no field that is shown.
export const complaintAboutAll = () => {
  const found = refusal.value;
  const name = found?.param?.replace(/\[.*/, "");
  return found && !Object.values(NAMES).some((names) => names.includes(name)) ? found.message : "";
};

// Whether a negative prompt changes anything: only where the network runs for it too.
export const takesNegative = (form, one) => {
  if (one?.true_cfg_scale) return Number(form.true_cfg) > 1;
  return !one || one.default_guidance_scale > 1 || Number(form.guidance) > 1;
};

const numberOf = (text) => (text === "" || Number.isNaN(Number(text)) ? text : Number(text));

// A seed may be larger than what a number holds exactly: then it is written into the JSON as it stands.
export function jsonOf(request, indent) {
  const seed = request.seed;
  if (typeof seed !== "string" || !/^\d{1,20}$/.test(seed)) return JSON.stringify(request, null, indent);
  return JSON.stringify({ ...request, seed: 0 }, null, indent).replace(/"seed":( ?)0/, `"seed":$1${seed}`);
}

// The request that the form stands for, in the API's words.
export function requestOf(form, edits) {
  const request = { model: form.model || model.value?.id, prompt: form.prompt };
  const put = (name, value) => {
    if (value !== "" && value !== undefined) request[name] = value;
  };
  if (takesNegative(form, model.value)) put("negative_prompt", form.negative_prompt);
  put("width", numberOf(form.width));
  put("height", numberOf(form.height));
  put("num_inference_steps", numberOf(form.steps));
  put("guidance_scale", numberOf(form.guidance));
  if (model.value?.true_cfg_scale) put("true_cfg_scale", numberOf(form.true_cfg));
  put("scheduler", form.scheduler);
  put("seed", /^\d{16,20}$/.test(form.seed) ? form.seed : numberOf(form.seed));
  put("n", numberOf(form.n));
  if (edits) put("strength", numberOf(form.strength));
  if (model.value?.flow_shift) put("flow_shift", numberOf(form.shift));
  if (form.format !== "png") put("output_format", form.format);
  put("prompt_syntax", form.syntax);
  const loras = form.loras.filter((lora) => lora.name).map(({ name, weight }) => ({ name, weight: numberOf(weight) }));
  if (loras.length) request.loras = loras;
  return request;
}

// The other way round, from a request or from what a picture says of itself. Unknown samplers and models are left out.
export function fill(request) {
  const text = (value) => (value === undefined || value === null ? "" : String(value));
  const known = models.value.find((one) => one.id === request.model);
  const samplers = (known ?? model.value)?.schedulers ?? [];
  // Of a flow model "EulerDiscreteScheduler" is "FlowMatchEulerDiscreteScheduler".
  const sampler = request.scheduler && samplers.find((name) => name.endsWith(request.scheduler));
  change({
    prompt: text(request.prompt), negative_prompt: text(request.negative_prompt),
    model: known ? known.id : settings.value.model,
    width: text(request.width), height: text(request.height), steps: text(request.num_inference_steps),
    guidance: text(request.guidance_scale), true_cfg: text(request.true_cfg_scale), scheduler: sampler ?? "",
    seed: text(request.seed), n: text(request.n ?? 1), strength: text(request.strength), shift: text(request.flow_shift),
    syntax: text(request.prompt_syntax),
    loras: (request.loras ?? []).map(({ name, weight }) => ({ name, weight: text(weight) })),
  });
}
