// The entries as a list, of which only what is seen is there, and beside it the one that is chosen.

import { Empty, html, lasting, momentOf, Trouble, useEffect, useLayoutEffect, useReducer, useRef, useState } from "./lib.js";
import { Moment } from "./moment.js";
import { go, placeOf } from "./route.js";

export const ROW = 28;
const SPARE = 12;

/** Which rows are in sight, while a list is scrolled and resized. */
function useSight(list, total) {
  const [sight, keep] = useState({ from: 0, to: 60 });
  useEffect(() => {
    const look = () => {
      const { scrollTop, clientHeight } = list.current;
      const from = Math.max(0, Math.floor(scrollTop / ROW) - SPARE);
      const to = Math.ceil((scrollTop + clientHeight) / ROW) + SPARE;
      keep((now) => (now.from === from && now.to === to ? now : { from, to }));
    };
    look();
    const watch = new ResizeObserver(look);
    watch.observe(list.current);
    const node = list.current;
    node.addEventListener("scroll", look, { passive: true });
    return () => {
      watch.disconnect();
      node.removeEventListener("scroll", look);
    };
  }, [total > 0]);
  return { from: sight.from, to: Math.min(sight.to, total) };
}

export function Timeline({ view, route, entries, cut }) {
  const list = useRef(null);
  const { from, to } = useSight(list, entries.total);
  useLayoutEffect(() => {
    const { current } = list;
    if (!current || cut.at < 0) return;
    const top = cut.at * ROW, { scrollTop, clientHeight } = current;
    if (top < scrollTop + ROW) current.scrollTop = Math.max(0, top - ROW * 2);
    else if (top + ROW * 2 > scrollTop + clientHeight) current.scrollTop = top - clientHeight + ROW * 3;
  }, [cut.at, entries.total]);
  const agents = [...new Set(view.members.map((each) => each.agent))];
  const rows = [];
  for (let place = from; place < to; place += 1) {
    rows.push(html`<${Row} key=${place} place=${place} entry=${entries.at(place)} first=${view.first} agents=${agents} chosen=${place === cut.at} choose=${(to) => cut.move(to)} />`);
  }
  return html`<div class="timeline">
    <div class="entries" ref=${list} tabindex="0" role="listbox" aria-label="Entries" aria-activedescendant=${cut.at >= 0 ? `entry-${cut.at}` : null}>
      ${entries.failure && html`<${Trouble} failure=${entries.failure} />`}
      ${entries.loaded && !entries.total && html`<${Empty} title="No entries like that" />`}
      <div class="space" role="presentation" style=${{ height: `${entries.total * ROW}px` }}>${rows}</div>
    </div>
    ${entries.loaded && !entries.total ? html`<section class="moment"></section>` : html`<${Moment} view=${view} route=${route} cut=${cut} agents=${agents} />`}
  </div>`;
}

function Row({ place, entry, first, agents, chosen, choose }) {
  const style = { top: `${place * ROW}px` };
  if (!entry) return html`<div class="entry loading" style=${style} role="option" aria-selected="false"></div>`;
  const kind = `entry kind-${entry.kind}${entry.bad ? " bad" : ""}${chosen ? " chosen" : ""}${entry.place ? "" : " command"}`;
  return html`<div id=${`entry-${place}`} class=${kind} style=${style} role="option" aria-selected=${chosen} onClick=${() => choose(place)} title=${momentOf(entry.time)}>
    <span class="sequence">${entry.place < 2 ? entry.sequence : ""}</span>
    <span class="offset">${entry.place < 2 ? lasting(entry.time - first) : ""}</span>
    <span class="agent hue-${agents.indexOf(entry.agent) % 6}">${entry.agent}</span>
    <span class="line"><span class="name">${entry.name}</span> <span class="words">${entry.words}</span></span>
  </div>`;
}
