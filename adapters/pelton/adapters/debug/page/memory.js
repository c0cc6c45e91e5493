// What agents remember: each memory as of a moment, what it came from, and who was given it.

import { ago, brief, calmly, count, Empty, html, segment, Trouble, useEffect, useFetched, useRef, useState } from "./lib.js";
import { onNews } from "./live.js";
import { said, There, useList } from "./people.js";
import { elsewhere, go } from "./route.js";

export function Memories({ route, overview }) {
  const [text, type] = useState("");
  const [query, search] = useState("");
  const [agent, choose] = useState("");
  const [hidden, show] = useState(false);
  const timer = useRef(0);
  const [found, failure, more] = useList("memories", { query, agent, hidden: hidden || "" });
  const typed = (event) => {
    const { value } = event.target;
    type(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => search(value.trim()), 150);
  };
  return html`<nav class="sidebar" aria-label="Memories">
    <div class="filters">
      <input id="search" type="search" placeholder="Search memories, by words" aria-label="Search memories" value=${text} onInput=${typed} />
      <div class="row">
        <select aria-label="Who recalls" value=${agent} onChange=${(event) => choose(event.target.value)}>
          <option value="">of everybody</option>
          ${overview?.agents.map((name) => html`<option value=${name}>as ${name} recalls</option>`)}
        </select>
        <label class="check" title="Those too that are forgotten, expired or replaced"><input type="checkbox" checked=${hidden} onChange=${(event) => show(event.target.checked)} /> hidden</label>
      </div>
    </div>
    ${failure && html`<${Trouble} failure=${failure} />`}
    ${found.unsearched > 0 && html`<p class="warning" role="status">${found.unsearched === 1 ? "One memory is" : `${found.unsearched.toLocaleString("en")} memories are`} sealed, and not searched: the bridge has no keys.</p>`}
    ${found.loaded && !found.items.length && !found.unsearched && !failure && html`<${Empty} title=${query ? "Nobody remembers that" : "Nothing is remembered yet"}>${!query && html`Agents do: <code>turn.memory.commit(…)</code>`}<//>`}
    <ul class="conversations memories">
      ${found.items.map((each) => html`<li key=${each.id}><a href=${elsewhere({ page: "memory", context: each.id })} class=${route.context === each.id ? "current" : ""}>
        <span class="text">${each.content || html`<em>forgotten</em>`}</span><span class="ago">${ago(each.time, Date.now())}</span>
        <span class="who"><${Whose} each=${each} /></span><span class="ago">${hiddenAs(each) || `v${each.version}`}</span>
      </a></li>`)}
    </ul>
    ${found.next && html`<button class="more" onClick=${more}>Show more of ${found.total.toLocaleString("en")}</button>`}
  </nav>`;
}

const hiddenAs = (each) => (each.forgotten ? "forgotten" : each.replacedBy ? "replaced" : each.expires && Date.parse(each.expires) < Date.now() ? "expired" : "");

export const Whose = ({ each }) => html`${each.scope === "global" ? "global" : `${each.scope} · ${each.owner}`}${each.namespace && ` · ${each.namespace}`}${each.key && html` · <code>${each.key}</code>`}`;

/** A memory seen closely, as of a sequence or as of now. */
export function Remembered({ route }) {
  const { context: id, until } = route;
  const [seen, failure, refresh] = useFetched(`memories/${segment(id)}`, { until });
  useEffect(() => {
    const calm = calmly(400, refresh);
    const end = until ? () => {} : onNews(calm);
    return () => {
      end();
      calm.stop();
    };
  }, [id, until]);
  if (failure) return html`<${Trouble} failure=${failure} />`;
  if (!seen) return html`<${Empty} title="Looking …" />`;
  const { memory, versions, readers, why } = seen;
  const [shown] = versions;
  return html`<article class="remembered">
    <header class="head">
      <a class="back" href=${elsewhere({ page: "memory" })} aria-label="All memories">‹</a>
      <div class="title">
        <h1>Memory <code title=${memory.id}>${brief(memory.id)}</code></h1>
        <p><span><${Whose} each=${memory} /></span><span>${count(memory.version, "version")}</span>${hiddenAs(memory) && html`<span class="state">${hiddenAs(memory)} now</span>`}${memory.replacedBy && html`<a href=${elsewhere({ page: "memory", context: memory.replacedBy })}>by ${brief(memory.replacedBy)}</a>`}</p>
      </div>
    </header>
    ${until && html`<p class="warning" role="status">As of #${until} of the log. <a href=${elsewhere({ page: "memory", context: id })}>See it as of now</a></p>`}
    <div class="panes">
      <section class="pane">
        <h2>What it says</h2>
        ${shown
          ? html`<p class="quiet">version ${shown.version}, <span class="data">#${shown.sequence}</span></p>
            ${shown.forgotten ? html`<p><em>It is forgotten${shown.reason && html`: ${shown.reason}`}.</em></p>` : html`<pre class="said">${shown.content}</pre>`}
            ${shown.expires && html`<p class="quiet">recalled until ${shown.expires}</p>`}`
          : html`<p class="quiet">It was not there yet.</p>`}
        ${why && html`<h2>Why</h2><${Why} why=${why} />`}
      </section>
      <section class="pane">
        <h2>Who was given it <span class="quiet">${readers.length || ""}</span></h2>
        ${readers.length
          ? html`<ul class="uses">${readers.map((each) => html`<li><${There} context=${each.contextId} task=${each.taskId} sequence=${each.sequence}><span class="agent">${each.agent}</span> #${each.sequence}<//> <span class="quiet">version ${each.version}, in turn ${each.turn} by <code>${each.key}</code></span></li>`)}</ul>`
          : html`<p class="quiet">Nobody${until ? " by then" : ""}.</p>`}
        <h2>Versions</h2>
        <ol class="versions">${versions.map((each, at) => html`<li class=${at ? "" : "current"}>
          <button class="link" onClick=${() => go({ until: String(each.sequence) })}>version ${each.version} <span class="data">#${each.sequence}</span></button>${" "}
          <span class="quiet">${ago(each.time, Date.now())}${each.reverts ? `, as version ${each.reverts}` : ""}</span>
          <p class="clip">${each.forgotten ? html`<em>forgotten${each.reason && `: ${each.reason}`}</em>` : each.content}</p>
        </li>`)}</ol>
      </section>
    </div>
  </article>`;
}

const FROM = { message: "the message of a turn", tool: "what a tool returned", model: "what a model said", person: "somebody, by hand" };

/** What a version came from, in words and links. */
export const Cause = ({ cause, actor, sequence }) => html`<p>From ${FROM[cause.kind] ?? cause.kind}${cause.key && html`: <code>${cause.key}</code>`}${actor && cause.kind === "person" && html` (${actor})`}${cause.contextId && html`, in <${There} context=${cause.contextId} task=${cause.taskId} sequence=${sequence}>turn ${cause.turn} of <span class="agent">${cause.agent}</span><//>`}.</p>`;

function Why({ why }) {
  const { version, message, sources, given } = why;
  return html`<${Cause} cause=${version.cause} actor=${version.actor} sequence=${version.sequence} />
    ${message && html`<figure><figcaption class="quiet">The message</figcaption><pre class="said">${said(message)}</pre></figure>`}
    ${sources.length > 0 && html`<p class="quiet">It was made of</p><ul class="uses">${sources.map((each) => html`<li><a href=${elsewhere({ page: "memory", context: each.memoryId, until: String(each.sequence) })}>${brief(each.memoryId)} version ${each.version}</a><p class="clip">${each.content}</p></li>`)}</ul>`}
    ${given.length > 0 && html`<p class="quiet">Its turn had been given</p><ul class="uses">${given.map((each) => html`<li><a href=${elsewhere({ page: "memory", context: each.memoryId, until: String(each.sequence) })}>${brief(each.memoryId)} version ${each.version}</a> <span class="quiet">by <code>${each.key}</code></span></li>`)}</ul>`}`;
}

/** The memories that a conversation wrote or was given, as of the cut. */
export function Recollections({ view, route, cut }) {
  const until = cut.following ? null : cut.entry?.sequence;
  const [found, failure] = useFetched(`conversations/${segment(route.context)}/memories`, { fork: route.fork, until, task: route.task }, cut.following ? view.total : 0);
  if (failure) return html`<${Trouble} failure=${failure} />`;
  if (!found) return html`<div class="recollections"></div>`;
  if (!found.total) return html`<${Empty} title="No memory was used by then">Agents remember by <code>turn.memory</code>.<//>`;
  const agents = [...new Set(view.members.map((each) => each.agent))];
  return html`<div class="recollections"><ul class="cards">
    ${found.items.map((each) => html`<li class="card" key=${each.id}>
      <p class="facts"><span><${Whose} each=${each} /></span><span class="state">${each.version ? `version ${each.version}` : "not there yet"}</span>${each.forgotten && html`<span class="state failed">forgotten</span>`}<span class="grow"></span>${!route.fork && html`<a href=${elsewhere({ page: "memory", context: each.id, until: until ? String(until) : "" })}>Why, and who else</a>`}</p>
      ${each.content && html`<pre class="said">${each.content}</pre>`}
      ${each.cause && html`<${Cause} cause=${each.cause} />`}
      <p class="links"><span>here</span> ${each.touches.map((one) => html`<span class="touch">${one.made ? "written by" : "given to"} <span class="agent hue-${agents.indexOf(one.agent) % 6}">${one.agent}</span>, version ${one.version}, <button class="link data" onClick=${() => go({ tab: "timeline", at: { sequence: one.sequence, place: one.place } })}>#${one.sequence}</button></span>`)}</p>
    </li>`)}
  </ul>${found.total > found.items.length && html`<p class="quiet">and ${found.total - found.items.length} more</p>`}</div>`;
}
