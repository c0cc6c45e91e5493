// The whole of a conversation on one line: a tick for each entry, and a handle to go through them.

import { html, lasting, useEffect, useLayoutEffect, useReducer, useRef } from "./lib.js";

const COLOURS = { c: "--k-command", m: "--k-message", t: "--k-turn", p: "--k-step", w: "--k-wait", d: "--k-delegation", s: "--k-status", a: "--k-artifact", x: "--bad" };

/** Draws the ticks; where there are more entries than pixels, what went wrong is on top. */
function draw(canvas, kinds, at) {
  const scale = devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const colours = Object.fromEntries(Object.entries(COLOURS).map(([kind, name]) => [kind, style.getPropertyValue(name)]));
  const step = width / kinds.length;
  const thick = Math.min(Math.max(step - 1, 1), 4);
  const tick = (place, colour, tall) => {
    pen.fillStyle = colour;
    const high = tall ? height - 4 : height - 12;
    pen.fillRect(place * step + (step - thick) / 2, (height - high) / 2, thick, high);
  };
  for (const [place, letter] of [...kinds].entries()) {
    pen.globalAlpha = place <= at ? 1 : 0.32;
    if (letter === letter.toLowerCase()) tick(place, colours[letter], false);
  }
  for (const [place, letter] of [...kinds].entries()) {
    pen.globalAlpha = place <= at ? 1 : 0.45;
    if (letter !== letter.toLowerCase()) tick(place, style.getPropertyValue("--bad"), true);
  }
  pen.globalAlpha = 1;
  if (at >= 0) {
    pen.fillStyle = style.getPropertyValue("--text");
    pen.fillRect(Math.round(at * step + step / 2) - 1, 0, 2, height);
  }
}

export function Scrubber({ entries, cut, first }) {
  const canvas = useRef(null);
  const [size, resized] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    const watch = new ResizeObserver(resized);
    watch.observe(canvas.current);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", resized);
    return () => {
      watch.disconnect();
      scheme.removeEventListener("change", resized);
    };
  }, []);
  useLayoutEffect(() => draw(canvas.current, entries.kinds, cut.at), [entries.kinds, cut.at, size]);
  const { entry } = cut;
  const said = entry ? `${entry.name}, at ${entry.sequence}` : "";
  return html`<section class="scrubber" aria-label="Scrubber">
    <div class="track">
      <canvas ref=${canvas} aria-hidden="true"></canvas>
      <input
        type="range" min="0" max=${Math.max(entries.total - 1, 0)} value=${Math.max(cut.at, 0)}
        aria-label="Entry" aria-valuetext=${said} disabled=${!entries.total}
        onInput=${(event) => cut.move(Number(event.target.value))}
      />
    </div>
    <div class="where">
      <span class="count"><b>${(entries.total ? cut.at + 1 : 0).toLocaleString("en")}</b> of ${entries.total.toLocaleString("en")}</span>
      ${entry && html`<span class="data">#${entry.sequence}</span><span class="data">+${lasting(entry.time - first)}</span>`}
      <span class="grow"></span>
      <button class="icon" aria-label="The entry before" title="← or k" onClick=${() => cut.step(-1)} disabled=${cut.at <= 0}>‹</button>
      <button class="icon" aria-label="The next entry" title="→ or j" onClick=${() => cut.step(1)} disabled=${cut.at >= entries.total - 1}>›</button>
      <button class="follow" aria-pressed=${cut.following} title="f" onClick=${() => cut.follow()}>${cut.following ? "Following" : "Follow"}</button>
    </div>
  </section>`;
}
