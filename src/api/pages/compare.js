// Two pictures one over the other, with a slider between them.
import { html } from "./lit/lit-html.js";
import { ref } from "./lit/directives/ref.js";

export function compare(before, after, alt) {
  let box = null;
  const slide = (event) => box.style.setProperty("--at", `${event.target.value}%`);
  return html`
    <div class="compare" ${ref((element) => (box = element ?? box))}>
      <div>
        <img src=${after} alt=${alt}>
        <img class="before" src=${before} alt="Before">
      </div>
      <input type="range" min="0" max="100" value="50" aria-label="Before and after" @input=${slide}>
    </div>`;
}
