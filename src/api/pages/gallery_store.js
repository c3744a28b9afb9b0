// The pictures that this browser keeps: an IndexedDB of bounded size, the oldest going first. Where there is none, or it is
// full, pictures live as long as the page.
import { computed, signal } from "./signals.js";

export const BYTES_MAX = 500e6;

// The newest first: {id, created, blob, request, seed, model, size, seconds, job, source, mask}. `request` is the API
// request without its pictures; `source` and `mask` are blobs of what an edit started from.
export const pictures = signal([]);
export const notice = signal("");
export const bytesKept = computed(() => pictures.value.reduce((sum, picture) => sum + bytesOf(picture), 0));

const bytesOf = ({ blob, source, mask }) => blob.size + (source?.size ?? 0) + (mask?.size ?? 0);

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

let database = null;
async function open() {
  const request = indexedDB.open("diffused", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("pictures", { keyPath: "id", autoIncrement: true });
  return done(request);
}

// Makes a change; it is kept, also over a reload, once this has ended.
async function write(act) {
  const transaction = database.transaction("pictures", "readwrite");
  const committed = new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  const result = await Promise.all([done(act(transaction.objectStore("pictures"))), committed]);
  return result[0];
}

export async function load() {
  try {
    database = await open();
    pictures.value = (await done(database.transaction("pictures").objectStore("pictures").getAll())).reverse();
  } catch {
    database = null;
    notice.value = "This browser keeps no pictures for pages: they are here until the page is closed.";
  }
}

let lastId = 0;
export async function add(picture) {
  const kept = { created: Date.now(), ...picture };
  if (database) {
    try {
      await makeRoom(bytesOf(kept));
      kept.id = await write((store) => store.add(kept));
      notice.value = "";
    } catch (error) {
      notice.value = error?.name === "QuotaExceededError"
        ? "The browser's storage is full: new pictures are here until the page is closed. Delete some, or download them."
        : `The browser could not keep the picture (${error?.name}): it is here until the page is closed.`;
    }
  }
  kept.id ??= `unkept-${++lastId}`;
  pictures.value = [kept, ...pictures.value];
  return kept;
}

async function makeRoom(bytes) {
  while (pictures.value.length && bytesKept.value + bytes > BYTES_MAX) await remove(pictures.value.at(-1).id);
}

export async function remove(id) {
  if (database && typeof id === "number") await write((store) => store.delete(id));
  pictures.value = pictures.value.filter((picture) => picture.id !== id);
  forget(id);
}

export async function clear() {
  if (database) await write((store) => store.clear());
  const gone = pictures.value;
  pictures.value = [];
  for (const { id } of gone) forget(id);
}

// A picture's address in this page.
const urls = new Map();
export function urlOf({ id, blob }) {
  if (!urls.has(id)) urls.set(id, URL.createObjectURL(blob));
  return urls.get(id);
}
function forget(id) {
  if (urls.has(id)) URL.revokeObjectURL(urls.get(id));
  urls.delete(id);
}
