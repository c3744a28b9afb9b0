// What every driver in JavaScript does: reads one JSON line {action, ...options} at a time, runs that action with the
// client, and writes what came of it as one JSON line: {result} or {error}.
import readline from "node:readline";

// Standard output belongs to the protocol, whatever a client logs.
console.log = console.info = console.warn = console.error;

function describe(error) {
  const { status = error.statusCode ?? null, message } = error;
  // The AI SDK keeps the server's words in `data`.
  const { type = null, code = null, param = null } = error.data?.error ?? error;
  const kinds = [];
  for (let kind = error.constructor; kind?.name; kind = Object.getPrototypeOf(kind)) kinds.push(kind.name);
  return { kinds, status, type, code, param, message };
}

export async function serve(actions) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { action, ...options } = JSON.parse(line);
    let reply;
    try {
      reply = { result: (await actions[action](options)) ?? null };
    } catch (error) {
      reply = { error: describe(error) };
    }
    process.stdout.write(JSON.stringify(reply) + "\n");
  }
}

// A call that goes on while the tests look at the server: start(signal) begins it, finish() aborts it and says how it ended.
export function abortable(start) {
  let controller, pending;
  return {
    async begin(options) {
      controller = new AbortController();
      pending = Promise.resolve(start(options, controller.signal)).then(() => "answered", (error) => describe(error).kinds[0]);
    },
    async abort() {
      controller.abort();
      return pending;
    },
  };
}

export async function download(url) {
  const reply = await fetch(url);
  return Buffer.from(await reply.arrayBuffer()).toString("base64");
}
