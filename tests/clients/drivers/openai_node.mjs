// openai from npm; the argument is the name under which the version is installed. With `azure` behind it its client for that.
import fs from "node:fs";
import { abortable, download, serve } from "./loop.mjs";

const { default: OpenAI, AzureOpenAI, toFile } = await import(process.argv[2]);

const azure = ({ server, key = "none", retries = 0 }) =>
  new AzureOpenAI({ endpoint: server, apiVersion: "2025-04-01-preview", apiKey: key, maxRetries: retries });
const openai = ({ server, key = "none", retries = 0 }) => new OpenAI({ baseURL: `${server}/v1`, apiKey: key, maxRetries: retries });
const client = process.argv[3] === "azure" ? azure : openai;
const pictures = (reply) => Promise.all(reply.data.map((item) => item.b64_json ?? download(item.url)));

// Streams leave without a length (chunked); files made from bytes leave as a form of known length.
const upload = (path, chunked) => (chunked ? fs.createReadStream(path) : toFile(fs.readFileSync(path), "picture.png"));
async function form({ request, extra, images, mask, chunked }) {
  const files = await Promise.all(images.map((path) => upload(path, chunked)));
  const image = files.length === 1 ? files[0] : files;
  return { ...request, ...extra, image, ...(mask ? { mask: await upload(mask, chunked) } : {}) };
}

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return { events };
}

const long = abortable(async ({ request, extra, stream, ...options }, signal) => {
  const reply = await client(options).images.generate({ ...request, ...extra, stream }, { signal });
  if (!stream) return;
  let last;
  for await (last of reply);
  // An aborted stream ends without an exception.
  if (!last?.type.endsWith(".completed")) throw new Error("the stream was cut off");
});

await serve({
  async generate({ request, extra, ...options }) {
    const reply = await client(options).images.generate({ ...request, ...extra });
    return { pictures: await pictures(reply), reply: { ...reply, data: undefined } };
  },
  async edit({ request, extra, images, mask, chunked, ...options }) {
    return { pictures: await pictures(await client(options).images.edit(await form({ request, extra, images, mask, chunked }))) };
  },
  async vary({ request, images, ...options }) {
    return { pictures: await pictures(await client(options).images.createVariation({ ...request, image: await upload(images[0]) })) };
  },
  async stream({ request, extra, ...options }) {
    return collect(await client(options).images.generate({ ...request, ...extra, stream: true }));
  },
  async stream_edit({ request, extra, images, mask, chunked, ...options }) {
    return collect(await client(options).images.edit({ ...(await form({ request, extra, images, mask, chunked })), stream: true }));
  },
  async models(options) {
    const names = [];
    for await (const model of client(options).models.list()) names.push(model.id);
    return names;
  },
  async model({ name, ...options }) {
    return client(options).models.retrieve(name);
  },
  ...long,
});
