// The AI SDK; the argument is the package of its provider.
import fs from "node:fs";
import { generateImage } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { abortable, serve } from "./loop.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const settings = ({ server, key }) => ({ baseURL: `${server}/v1`, apiKey: key ?? "none" });
const providers = {
  "@ai-sdk/openai": (options) => createOpenAI(settings(options)),
  "@ai-sdk/openai-compatible": (options) => createOpenAICompatible({ ...settings(options), name: "openai" }),
};
const provider = providers[process.argv[2]];

// What the SDK has no name for travels in the provider's options: one of the two spreads them into the body as they are, the other
// picks those it knows, spelled in its way.
const camel = (name) => name.replace(/_./g, ([, letter]) => letter.toUpperCase());
const spelled = (options) => Object.fromEntries(Object.entries(options).map(([name, value]) => [camel(name), value]));

function call({ request, extra, images, mask, retries = 0, ...options }, abortSignal) {
  const { model, prompt, n, size, ...others } = request;
  const uploads = images && {
    text: prompt, images: images.map((path) => fs.readFileSync(path)), ...(mask ? { mask: fs.readFileSync(mask) } : {}),
  };
  return generateImage({
    model: provider(options).imageModel(model), prompt: uploads ?? prompt, n, size, abortSignal, maxRetries: retries,
    providerOptions: { openai: { ...others, ...extra, ...spelled(others) } },
  });
}
const pictures = async (options) => ({ pictures: (await call(options)).images.map((image) => image.base64) });

await serve({ generate: pictures, edit: pictures, ...abortable(call) });
