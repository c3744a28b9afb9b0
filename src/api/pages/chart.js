// A small chart of the last hour, in SVG. Numbers are for those who see; the table of figures beside it is for all.
import { html, nothing, svg } from "./lit/lit-html.js";

const WIDTH = 360, HEIGHT = 70;
const SHORTEST = 30;  // values: what has only begun is not drawn wider

// The values as a path over the whole width; gaps where there is none.
function path(values, top) {
  const step = WIDTH / (values.length - 1);
  let drawn = false;
  return values.map((value, i) => {
    if (value === null) {
      drawn = false;
      return "";
    }
    const place = `${(i * step).toFixed(1)} ${(HEIGHT - (value / top) * (HEIGHT - 4)).toFixed(1)}`;
    if (drawn) return `L${place}`;
    drawn = true;
    return `M${place}h-1`;  // so that one value alone is seen
  }).join("");
}

// `series`: one or two lists of values, one for each `span` seconds, the newest last. `format` words the largest value.
export function chart(title, series, format, span) {
  const length = Math.max(SHORTEST, series[0].length);
  const lines = series.map((values) => [...Array(length - values.length).fill(null), ...values]);
  const minutes = Math.round((length * span) / 60);
  const largest = Math.max(...lines.flat().map((value) => value ?? 0));
  const top = largest || 1;
  const now = series.map((values) => values.at(-2) ?? values.at(-1) ?? null);
  const label = `${title}: at most ${format(largest)} in the last hour, ${format(now[0] ?? 0)} now`;
  const area = `${path(lines[0].map((value) => value ?? 0), top)}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`;
  return html`
    <figure class="card" aria-label=${label}>
      <figcaption class="row spread"><b>${title}</b><small>${format(now[0] ?? 0)} now, at most ${format(largest)}</small></figcaption>
      <svg class="chart" viewBox=${`0 0 ${WIDTH} ${HEIGHT + 2}`} preserveAspectRatio="none" aria-hidden="true">
        ${[0, 1 / 3, 2 / 3].map((at) => svg`<line x1=${at * WIDTH} x2=${at * WIDTH} y1="0" y2=${HEIGHT}></line>`)}
        ${svg`<path class="area" d=${area}></path><path d=${path(lines[0], top)}></path>`}
        ${lines[1] ? svg`<path class="second" d=${path(lines[1], top)}></path>` : nothing}
      </svg>
      <small class="row spread"><span>${minutes < 60 ? `${minutes} min ago` : "an hour ago"}</span><span>now</span></small>
    </figure>`;
}
