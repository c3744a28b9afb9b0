// How a picture was made, from the text that programs write into PNG files: this server's, AUTOMATIC1111's and ComfyUI's.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const CHUNK_BYTES_MAX = 4 << 20;

async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = stream.getReader();
  const parts = [];
  for (let size = 0; ;) {
    const { value, done } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    size += value.length;
    if (size > CHUNK_BYTES_MAX) throw new Error("too much text");
    parts.push(value);
  }
}

const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder();

// The keyword and the text of a tEXt, zTXt or iTXt chunk.
async function readChunk(type, bytes) {
  const end = bytes.indexOf(0);
  const keyword = latin1.decode(bytes.subarray(0, end));
  if (type === "tEXt") return [keyword, latin1.decode(bytes.subarray(end + 1))];
  if (type === "zTXt") return [keyword, latin1.decode(await inflate(bytes.subarray(end + 2)))];
  const packed = bytes[end + 1];
  const language = bytes.indexOf(0, end + 3);
  const text = bytes.subarray(bytes.indexOf(0, language + 1) + 1);
  return [keyword, utf8.decode(packed ? await inflate(text) : text)];
}

const bytesOf = async (blob, from, to) => new Uint8Array(await blob.slice(from, to).arrayBuffer());

// The chunks of a PNG: {type, from, to}, to being behind its checksum; none of anything else. Pixels are not looked at, so a
// large file costs nothing.
async function* chunksOf(blob) {
  const start = await bytesOf(blob, 0, 8);
  if (!SIGNATURE.every((byte, i) => start[i] === byte)) return;
  for (let from = 8, to; from + 12 <= blob.size; from = to) {
    const head = await bytesOf(blob, from, from + 8);
    const type = latin1.decode(head.subarray(4));
    to = from + new DataView(head.buffer).getUint32(0) + 12;
    yield { type, from, to };
    if (type === "IEND") return;
  }
}

const isText = ({ type, from, to }) => ["tEXt", "zTXt", "iTXt"].includes(type) && to - from <= CHUNK_BYTES_MAX;

// {keyword: text} of a PNG; empty for anything else.
export async function textOf(blob) {
  const found = {};
  for await (const chunk of chunksOf(blob)) {
    if (!isText(chunk)) continue;
    try {
      const [keyword, text] = await readChunk(chunk.type, await bytesOf(blob, chunk.from + 8, chunk.to - 4));
      found[keyword] ??= text;
    } catch {
      // A damaged chunk says nothing.
    }
  }
  return found;
}

// The PNG `to` with the text of the PNG `from`, which goes behind its first chunk.
export async function copyText(from, to) {
  const parts = [];
  for await (const chunk of chunksOf(from)) if (isText(chunk)) parts.push(from.slice(chunk.from, chunk.to));
  const { value: first } = await chunksOf(to).next();
  return new Blob([to.slice(0, first.to), ...parts, to.slice(first.to)], { type: to.type });
}

const SAMPLERS = {
  "Euler": "EulerDiscreteScheduler", "Euler a": "EulerAncestralDiscreteScheduler", "Heun": "HeunDiscreteScheduler",
  "DPM++ 2M": "DPMSolverMultistepScheduler", "DPM++ 2M SDE": "DPMSolverMultistepScheduler", "DDIM": "DDIMScheduler",
  "LMS": "LMSDiscreteScheduler", "UniPC": "UniPCMultistepScheduler", "LCM": "LCMScheduler",
  "euler": "EulerDiscreteScheduler", "euler_ancestral": "EulerAncestralDiscreteScheduler", "heun": "HeunDiscreteScheduler",
  "dpmpp_2m": "DPMSolverMultistepScheduler", "ddim": "DDIMScheduler", "uni_pc": "UniPCMultistepScheduler", "lcm": "LCMScheduler",
};
const withoutEmpty = (request) => Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined && value !== ""));

// "a prompt\nNegative prompt: …\nSteps: 20, Sampler: Euler a, …" as a request.
function fromInfotext(text) {
  const lines = text.trim().split("\n");
  const isLast = /^\s*Steps: \d+/.test(lines.at(-1));
  const last = isLast ? lines.pop() : "";
  const split = lines.findIndex((line) => line.startsWith("Negative prompt: "));
  const prompt = lines.slice(0, split < 0 ? undefined : split).join("\n");
  const negative = split < 0 ? "" : lines.slice(split).join("\n").slice("Negative prompt: ".length);
  const values = {};
  for (const [, name, quoted, plain] of last.matchAll(/\s*([\w /-]+):\s*(?:"((?:\\.|[^"\\])*)"|([^,]*))(?:,|$)/g))
    values[name.trim()] = quoted ?? plain.trim();
  const [width, height] = (values.Size ?? "").split("x");
  const loras = [...prompt.matchAll(/<lora:([^:>]+):([\d.-]+)>/g)].map(([, name, weight]) => ({ name, weight: Number(weight) }));
  return withoutEmpty({
    prompt: prompt.replace(/<lora:[^>]+>/g, "").trim(), negative_prompt: negative, num_inference_steps: values.Steps,
    guidance_scale: values["CFG scale"], seed: values.Seed, width, height, model: values.Model,
    scheduler: SAMPLERS[values.Sampler] ?? values.Sampler, strength: values["Denoising strength"],
    loras: loras.length ? loras : undefined, prompt_syntax: /[([]\S/.test(prompt) ? "a1111" : undefined,
  });
}

// The graph that ComfyUI saves: what its first sampler node and the nodes before it say.
function fromGraph(text) {
  const nodes = JSON.parse(text);
  const sampler = Object.values(nodes).find((node) => /^KSampler/.test(node.class_type));
  if (!sampler) return null;
  const { inputs } = sampler;
  const node = (link) => (Array.isArray(link) ? nodes[link[0]] : undefined);
  const textBehind = (link, depth = 0) => {
    const found = node(link);
    if (!found || depth > 8) return undefined;
    if (typeof found.inputs.text === "string") return found.inputs.text;
    return textBehind(Object.values(found.inputs).find(Array.isArray), depth + 1);
  };
  const size = node(inputs.latent_image)?.inputs ?? {};
  const plain = (value) => (Array.isArray(value) ? undefined : value);
  return withoutEmpty({
    prompt: textBehind(inputs.positive), negative_prompt: textBehind(inputs.negative),
    num_inference_steps: plain(inputs.steps), guidance_scale: plain(inputs.cfg), seed: plain(inputs.seed ?? inputs.noise_seed),
    width: plain(size.width), height: plain(size.height), scheduler: SAMPLERS[inputs.sampler_name],
    strength: inputs.denoise < 1 ? inputs.denoise : undefined,
  });
}

// The request that made the picture, and whose words those were; null when it does not say.
export function requestFrom(text) {
  try {
    if (text.diffused) return { program: "this server", request: JSON.parse(text.diffused) };
    if (text.parameters) return { program: "AUTOMATIC1111", request: fromInfotext(text.parameters) };
    const request = text.prompt && fromGraph(text.prompt);
    if (request) return { program: "ComfyUI", request };
  } catch {
    // What cannot be read says nothing.
  }
  return null;
}
