// The server as these pages see it: its public API, which any program may use in the same way.
import { signal } from "./signals.js";

// Where the server's paths begin, also behind a proxy that puts a prefix before them.
export const base = new URL("..", import.meta.url);

// The API key: kept for this tab, or in this browser when that was asked for.
const KEY = "diffused.key";
export const key = signal(sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "");
export const keyIsKept = () => localStorage.getItem(KEY) !== null;
export function setKey(value, keep) {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  if (value) (keep ? localStorage : sessionStorage).setItem(KEY, value);
  key.value = value;
}

// Whether the last answer said that a key is needed, or that this one is wrong.
export const keyRefused = signal("");

// What the server, or the way to it, said instead of doing what was asked.
export class Refusal extends Error {
  constructor(message, { status = 0, param = null, code = null, retrySeconds = null } = {}) {
    super(message);
    Object.assign(this, { status, param, code, retrySeconds });
  }
}

async function refusalOf(answer) {
  let error = {};
  try {
    error = (await answer.json()).error ?? {};
  } catch {
    // No JSON: not this server's words, but a proxy's.
  }
  const message = error.message ?? `The answer was ${answer.status} ${answer.statusText}`.trim();
  const after = Number(answer.headers.get("retry-after"));
  return new Refusal(message, {
    status: answer.status, param: error.param, code: error.code, retrySeconds: after > 0 ? after : null,
  });
}

// JSON in which integers too large for a number stay text: a seed has 64 bits.
export const parseExact = (text) => JSON.parse(text, (_, value, context) =>
  (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source ?? value : value));

// Sends a request; `body` is a FormData, JSON text, or what becomes JSON. Gives the Response, or throws a Refusal.
export async function send(path, { method = "GET", body, headers = {}, signal: abort } = {}) {
  const sent = { ...headers };
  if (key.value) sent.Authorization = `Bearer ${key.value}`;
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) sent["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(new URL(path, base), {
      method, headers: sent, body: body === undefined || isForm || typeof body === "string" ? body : JSON.stringify(body), signal: abort,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server cannot be reached.");
  }
  if (!answer.ok) {
    const refusal = await refusalOf(answer);
    if (answer.status === 401) keyRefused.value = refusal.message;
    throw refusal;
  }
  if (keyRefused.value && key.value) keyRefused.value = "";
  return answer;
}

// The same, as JSON.
export async function ask(path, options) {
  const answer = await send(path, options);
  return parseExact(await answer.text());
}

// The server-sent events of an answer: {name, id, data}. Ends when the stream does; throws a Refusal when it breaks.
export async function* eventsOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    while (true) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const event = { name: "message", id: "", data: "" };
        for (const line of block.split("\n")) {
          const at = line.indexOf(": ");
          if (line.startsWith("event: ")) event.name = line.slice(at + 2);
          if (line.startsWith("id: ")) event.id = line.slice(at + 2);
          if (line.startsWith("data: ")) event.data += line.slice(at + 2);
        }
        if (event.data) yield { ...event, data: parseExact(event.data) };
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The connection to the server was lost.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

export function blobOf(base64, type) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type });
}
