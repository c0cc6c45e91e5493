// One entry seen closely: why it came, what it changed, and how a task stood with it.

import { ForkForm } from "./fork.js";
import { brief, get, html, lasting, momentOf, segment, Trouble, useEffect, useRef, useState } from "./lib.js";
import { go } from "./route.js";
import { Tree } from "./tree.js";

const KEPT = 60;
const kept = new Map();

/** An entry seen closely; the one before stays in sight until it is there. Entries never change. */
function useMoment(context, fork, entry, task, total) {
  const [seen, keep] = useState(null);
  const [failure, fail] = useState(null);
  const key = entry && JSON.stringify([context, fork, entry.sequence, entry.place, task]);
  useEffect(() => {
    if (!key) return undefined;
    fail(null);
    const leaving = new AbortController();
    const known = kept.get(key);
    if (known) keep(known);
    const look = () => {
      const query = { fork, sequence: entry.sequence, place: entry.place, task };
      get(`conversations/${segment(context)}/moment`, query, leaving.signal).then(
        (value) => {
          kept.delete(key);
          kept.set(key, value);
          if (kept.size > KEPT) kept.delete(kept.keys().next().value);
          keep(value);
        },
        (error) => leaving.signal.aborted || fail(error),
      );
    };
    const timer = known ? 0 : setTimeout(look, 30);
    return () => {
      clearTimeout(timer);
      leaving.abort();
    };
  }, [key]);
  return [seen, failure];
}

export function Moment({ view, route, cut, agents }) {
  const { context, fork } = route;
  const [task, choose] = useState("");
  const [forking, begin] = useState(false);
  const [seen, failure] = useMoment(context, fork, cut.entry, task, view.total);
  if (failure) return html`<section class="moment"><${Trouble} failure=${failure} /></section>`;
  if (!seen) return html`<section class="moment"></section>`;
  const { entry } = seen;
  const more = (what, change) => ({ context, fork, sequence: entry.sequence, place: entry.place, what, change, task: seen.task });
  const changed = new Set(seen.changes.map((each) => each.path));
  return html`<section class="moment" aria-label="Entry" aria-live="polite">
    <header>
      <div class="row"><h2 class=${entry.bad ? "bad" : ""}>${entry.name}</h2><span class="grow"></span>${entry.task && html`<button title="Go on from here with something otherwise" onClick=${() => begin(true)}>Fork here</button>`}</div>
      <p class="facts">
        <span class="agent hue-${agents.indexOf(entry.agent) % 6}">${entry.agent}</span>
        <span class="data">#${entry.sequence}${entry.place ? `/${entry.place}` : ""}</span>
        <time>${momentOf(entry.time)}</time>
        ${seen.actor && html`<span>for <span class="data">${seen.actor}</span></span>`}
      </p>
      ${entry.words && html`<p class="said">${entry.words}</p>`}
      <${Links} title="because of" links=${seen.cause.sequence ? [seen.cause] : []} otherwise=${seen.cause.id} />
      <${Links} title="led to" links=${seen.effects} />
    </header>
    ${entry.place > 0 && html`<${Section} name="changed" title="What it changed" note=${seen.changed || "nothing"}>
      ${seen.changes.length
        ? html`<ul class="changes">${seen.changes.map((each, at) => html`<${Change} key=${at} each=${each} more=${(side) => more(side, at)} />`)}</ul>`
        : html`<p class="quiet">The task is as it was before.</p>`}
      ${seen.changed > seen.changes.length && html`<p class="quiet">and ${seen.changed - seen.changes.length} more fields</p>`}
    <//>`}
    ${seen.tasks.length > 0 && html`<${Section} name="state" title="The task then" note=${html`<${Choose} seen=${seen} view=${view} choose=${choose} />`}>
      ${seen.state
        ? html`<${Tree} trimmed=${seen.state} more=${more("state")} marked=${seen.task === entry.task ? changed : new Set()} />`
        : html`<p class="quiet">It was not there yet.</p>`}
    <//>`}
    <${Section} name="record" title=${entry.place ? "The event" : "The command"} closed>
      <${Tree} trimmed=${seen.record} more=${more("record")} />
    <//>
    ${forking && html`<${ForkForm} route=${route} entry=${entry} close=${() => begin(false)} />`}
  </section>`;
}

function Choose({ seen, view, choose }) {
  const agents = Object.fromEntries(view.tasks.map((task) => [task.id, task.agent]));
  if (seen.tasks.length < 2) return html`<code title=${seen.task}>${brief(seen.task)}</code>`;
  return html`<select aria-label="Whose state" value=${seen.task} onClick=${(event) => event.stopPropagation()} onChange=${(event) => choose(event.target.value)}>
    ${seen.tasks.map((id) => html`<option value=${id}>${agents[id] ?? ""} · ${brief(id)}</option>`)}
  </select>`;
}

function Links({ title, links, otherwise }) {
  if (!links.length) return otherwise ? html`<p class="links"><span>${title}</span> <code title=${otherwise}>${brief(otherwise)}</code></p>` : null;
  return html`<p class="links"><span>${title}</span> ${links.map(
    (each) => html`<button class="link" onClick=${() => go({ at: { sequence: each.sequence, place: each.place } })}>${each.what} <span class="data">#${each.sequence}</span> ${each.agent}</button> `,
  )}</p>`;
}

const closedOnes = new Map();

/** A part that can be closed, and stays so from entry to entry. */
export function Section({ name, title, note, closed = false, children }) {
  const [open, turn] = useState(!(closedOnes.get(name) ?? closed));
  const toggle = () => {
    closedOnes.set(name, open);
    turn(!open);
  };
  return html`<section class="part ${open ? "open" : ""}">
    <header><button aria-expanded=${open} onClick=${toggle}><span class="twist"></span>${title}</button> <span class="note">${note}</span></header>
    ${open && html`<div class="content">${children}</div>`}
  </section>`;
}

function Change({ each, more }) {
  const { before, after } = each;
  const sign = before.value === null ? "+" : after.value === null ? "−" : "~";
  const kind = { "+": "added", "−": "removed", "~": "altered" }[sign];
  return html`<li class="change ${kind}">
    <span class="sign" aria-label=${kind}>${sign}</span>
    <div>
      <code class="path">${each.path}</code>
      ${sign !== "+" && html`<${Tree} trimmed=${before} more=${more("before")} inline class="before" />`}
      ${sign !== "−" && html`<${Tree} trimmed=${after} more=${more("after")} inline class="after" />`}
    </div>
  </li>`;
}
