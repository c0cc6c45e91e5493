// A conversation: what it is about, the cut through it that is looked at, and four views of that.

import { useEntries, concerns } from "./entries.js";
import { Graph } from "./graph.js";
import { brief, calmly, count, Empty, html, lasting, segment, State, Trouble, useEffect, useFetched, useRef, useState } from "./lib.js";
import { onNews } from "./live.js";
import { Recollections } from "./memory.js";
import { elsewhere, go, placeOf } from "./route.js";
import { Scrubber } from "./scrubber.js";
import { Steps } from "./steps.js";
import { Timeline } from "./timeline.js";

const TABS = { timeline: "Timeline", graph: "Graph", steps: "Steps", memory: "Memory" };
const LETTERS = { t: "timeline", g: "graph", s: "steps", m: "memory" };

/**
 * What is looked at: which entry, by its place among those that are shown. It is the last one, and
 * follows what comes, while none is chosen.
 */
function useCut(route, entries) {
  const [place, keep] = useState(-1);
  const coming = useRef(-1); // a place that was gone to and whose entry is not there yet
  const now = useRef(-1); // keys may come faster than what they lead to is shown
  const wanted = route.at && placeOf(route.at);
  const here = entries.at(place);
  useEffect(() => {
    if (!wanted || !entries.loaded || coming.current >= 0) return undefined;
    if (here && placeOf(here) === wanted) return undefined;
    const leaving = new AbortController();
    entries.find(route.at, leaving.signal).then(keep, () => {}); // the list says what is wrong
    return () => leaving.abort();
  }, [wanted, entries.loaded]);
  useEffect(() => {
    const there = coming.current >= 0 && entries.at(coming.current);
    if (there) arrive(there);
  });
  const arrive = ({ sequence, place: inside }) => {
    coming.current = -1;
    go({ at: { sequence, place: inside } }, { quietly: true });
  };
  const following = !wanted && coming.current < 0;
  const at = Math.min(following ? entries.total : place, entries.total - 1);
  now.current = at;
  return {
    at,
    following,
    entry: entries.at(at),
    move(to) {
      const next = Math.min(Math.max(to, 0), entries.total - 1);
      if (next < 0) return;
      now.current = coming.current = next;
      keep(next);
      const there = entries.at(next);
      if (there) arrive(there);
    },
    step(by) {
      this.move(now.current + by);
    },
    follow() {
      coming.current = -1;
      go({ at: null }, { quietly: true });
    },
  };
}

function useKeys(cut, entries) {
  useEffect(() => {
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.closest?.("input:not([type=range]), textarea, select, dialog")) return;
      const far = event.shiftKey ? 10 : 1;
      const wrong = () => {
        const rest = entries.kinds.slice(cut.at + 1).search(/[A-Z]/);
        const next = rest < 0 ? entries.kinds.search(/[A-Z]/) : cut.at + 1 + rest;
        if (next >= 0) cut.move(next);
      };
      const does = {
        ArrowLeft: () => cut.step(-far),
        ArrowRight: () => cut.step(far),
        ArrowUp: () => cut.step(-far),
        ArrowDown: () => cut.step(far),
        k: () => cut.step(-1),
        j: () => cut.step(1),
        Home: () => cut.move(0),
        End: () => cut.move(entries.total - 1),
        e: wrong,
        f: () => cut.follow(),
      }[event.key];
      const tab = LETTERS[event.key];
      if (!does && !tab) return;
      event.preventDefault();
      if (does) does();
      else go({ tab });
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}

export function Conversation({ route }) {
  const { context, fork } = route;
  const path = `conversations/${segment(context)}`;
  const [view, failure, refresh] = useFetched(path, { fork });
  const members = useRef([]);
  members.current = view?.members ?? [];
  useEffect(() => {
    if (fork) return undefined;
    const calm = calmly(200, refresh);
    const end = onNews((news) => concerns(news, context, members.current) && calm());
    return () => {
      end();
      calm.stop();
    };
  }, [context, fork]);
  const [filters, filter] = useState({ kinds: "", find: "" });
  const entries = useEntries(context, fork, members, { ...filters, task: route.task });
  const cut = useCut(route, entries);
  useKeys(cut, entries);
  useEffect(() => document.querySelector("main").focus({ preventScroll: true }), []);
  if (failure) return html`<${Trouble} failure=${failure} />`;
  if (!view) return html`<${Empty} title="Reading the log …" />`;
  const Tab = { timeline: Timeline, graph: Graph, steps: Steps, memory: Recollections }[route.tab] ?? Timeline;
  return html`<article class="conversation">
    <${Head} view=${view} route=${route} />
    ${view.damage && html`<p class="warning" role="alert">${view.damage}</p>`}
    <${Scrubber} entries=${entries} cut=${cut} first=${view.first} />
    <div class="tabs" role="tablist">
      ${Object.entries(TABS).map(([name, title]) => html`<button role="tab" aria-selected=${name === route.tab} onClick=${() => go({ tab: name })}>${title}</button>`)}
      <span class="grow"></span>
      <${Filters} view=${view} route=${route} filters=${filters} filter=${filter} />
    </div>
    <${Tab} view=${view} route=${route} entries=${entries} cut=${cut} />
  </article>`;
}

function Head({ view, route }) {
  const [task] = view.tasks;
  const left = route.task || task?.id;
  const { fork } = view;
  const same = !fork || (route.task && route.task !== fork.task);
  const beside = { page: "compare", left: same ? left : fork.original, ...(route.fork && { leftFork: fork?.of ?? "", right: same ? left : fork.task, rightFork: route.fork }) };
  const agents = [...new Set(view.members.map((each) => each.agent))];
  return html`<header class="head">
    <a class="back" href=${elsewhere({})} aria-label="All conversations">‹</a>
    <div class="title">
      <h1>${task?.text || view.pending[0]?.words || "No task yet"}</h1>
      <p>
        <${State} state=${task?.state} />
        <span>${agents.join(", ")}</span>
        <span>${count(view.total, "entry").replace("entrys", "entries")}</span>
        <span>${lasting(view.last - view.first)}</span>
        <code title=${view.id}>${brief(view.id)}</code>
        ${route.fork && html`<span class="state fork">fork</span>`}
        ${fork?.changed.length > 0 && html`<span>${fork.changed.join(", ")}</span>`}
        ${task && html`<a href=${elsewhere(beside)}>${route.fork ? "Beside its original" : "Compare"}</a>`}
      </p>
    </div>
  </header>`;
}

const KINDS = [
  ["m", "messages"], ["t", "turns"], ["p", "steps"], ["w", "waits"], ["d", "delegations"],
  ["s", "states"], ["a", "artifacts"], ["c", "commands"],
];

function Filters({ view, route, filters, filter }) {
  return html`<div class="filters-inline">
    ${view.tasks.length > 1 && route.tab !== "graph" && html`<select aria-label="Task" value=${route.task} onChange=${(event) => go({ task: event.target.value })}>
      <option value="">all tasks</option>
      ${view.tasks.map((task) => html`<option value=${task.id}>${task.agent} · ${brief(task.id)}</option>`)}
    </select>`}
    ${route.tab === "timeline" && html`<select aria-label="Kinds" value=${filters.kinds} onChange=${(event) => filter({ ...filters, kinds: event.target.value })}>
      <option value="">all kinds</option>
      ${KINDS.map(([letter, name]) => html`<option value=${letter}>${name}</option>`)}
    </select>
    <input type="search" placeholder="Find in entries" aria-label="Find in entries" value=${filters.find} onInput=${(event) => filter({ ...filters, find: event.target.value })} />`}
  </div>`;
}
