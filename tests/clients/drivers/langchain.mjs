// The image tool of @langchain/openai. It has no way to pass anything that it does not know.
import { DallEAPIWrapper } from "@langchain/openai";
import { download, serve } from "./loop.mjs";

function tool({ server, key = "none", request }) {
  const { response_format: dallEResponseFormat, prompt: _, ...fields } = request;
  return new DallEAPIWrapper({ ...fields, dallEResponseFormat, apiKey: key, baseUrl: `${server}/v1` });
}

await serve({
  async generate(options) {
    const made = await tool(options).invoke(options.request.prompt);
    // One picture is its text or its URL; several are a list of content blocks.
    const items = [made].flat().map((item) => item.image_url?.url ?? item.image_url ?? item);
    return { pictures: await Promise.all(items.map((item) => (item.startsWith("http") ? download(item) : item))) };
  },
});
