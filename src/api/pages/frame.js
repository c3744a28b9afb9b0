// What all pages have: the bar with their names, the key, the colours, and what a screen reader is told.
import { html, nothing, render } from "./lit/lit-html.js";
import { effect, signal } from "./signals.js";
import { base, key, keyIsKept, keyRefused, setKey } from "./server.js";

const PAGES = [["Make", "./"], ["Status", "status"], ["Docs", "docs"]];

// "auto", "light" or "dark". theme.js sets it before the first paint.
const theme = signal(document.documentElement.dataset.theme ?? "auto");
function nextTheme() {
  const next = { auto: "light", light: "dark", dark: "auto" }[theme.value];
  theme.value = next;
  document.documentElement.dataset.theme = next;
  localStorage.setItem("diffused.theme", next);
}

const keyDialog = () => document.querySelector("#key-dialog");
export const askForKey = () => keyDialog().showModal();

function takeKey(event) {
  if (event.submitter?.value === "cancel") return;
  const { value, keep } = event.target.elements;
  setKey(value.value.trim(), keep.checked);
  keyRefused.value = "";
  dispatchEvent(new Event("diffused-key"));
}

const keyForm = () => html`
  <dialog id="key-dialog" aria-labelledby="key-title">
    <form method="dialog" @submit=${takeKey}>
      <h2 id="key-title">API key</h2>
      <p>${keyRefused.value || "A server that has users asks for a key. It is kept until this tab is closed."}</p>
      <label class="field">Key
        <input name="value" type="password" autocomplete="off" spellcheck="false" .value=${key.value} autofocus></label>
      <label class="check"><input name="keep" type="checkbox" .checked=${keyIsKept()}> Keep it in this browser</label>
      <div class="row end">
        <button value="cancel" formnovalidate>Cancel</button>
        <button class="primary" value="use">Use it</button>
      </div>
    </form>
  </dialog>`;

const bar = (current) => html`
  <a class="skip" href="#main">Skip to the page</a>
  <span class="brand"><img src=${new URL("pages/icon.svg", base).href} alt="" width="22" height="22">diffused</span>
  <nav aria-label="Pages">${PAGES.map(([name, path]) => html`
    <a href=${new URL(path, base).href} aria-current=${name === current ? "page" : nothing}>${name}</a>`)}</nav>
  <span class="row">
    <button class="plain" @click=${nextTheme} aria-label=${`Colours: ${theme.value}`} title=${`Colours: ${theme.value}`}>
      ${{ auto: "◐", light: "☀", dark: "☾" }[theme.value]}</button>
    <button class="plain" @click=${askForKey} aria-label=${key.value ? "API key: set" : "API key: none"}>
      ${key.value ? "Key ✓" : "Key"}</button>
  </span>
  ${keyForm()}`;

// Draws the bar, and the page into <main>, whenever what they show has changed.
export function showPage(current, view) {
  const header = document.querySelector("#bar");
  const main = document.querySelector("main");
  header.replaceChildren();
  main.replaceChildren();
  effect(() => render(bar(current), header));
  effect(() => render(view(), main));
  effect(() => {
    if (keyRefused.value && !keyDialog().open) askForKey();
  });
}

export function seconds(value) {
  if (value >= 90) return `${Math.round(value / 60)} min`;
  if (value >= 10) return `${Math.round(value)} s`;
  return value >= 0.1 || value === 0 ? `${value.toFixed(1)} s` : `${Math.ceil(value * 1000)} ms`;
}
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
  return `${power ? (value / 1000 ** power).toPrecision(3) : value} ${units[power]}`;
}
