// What there is to look at: conversations, the latest first.

import { ago, calmly, Empty, get, html, State, Trouble, useEffect, useRef, useState } from "./lib.js";
import { onNews } from "./live.js";
import { elsewhere } from "./route.js";

/** The conversations that were asked for, kept up to date: `[page, failure, more]`. */
function useConversations(query) {
  const [found, keep] = useState({ items: [], next: "", total: 0, loaded: false });
  const [failure, fail] = useState(null);
  const shown = useRef(50);
  const asked = JSON.stringify(query);
  const look = useRef(() => {});
  useEffect(() => {
    const leaving = new AbortController();
    shown.current = 50;
    look.current = async () => {
      try {
        const items = [];
        let page = { next: "" };
        do {
          page = await get("conversations", { ...query, pageSize: 100, pageToken: page.next }, leaving.signal);
          items.push(...page.items);
        } while (page.next && items.length < shown.current);
        keep({ ...page, items, loaded: true });
        fail(null);
      } catch (error) {
        if (!leaving.signal.aborted) fail(error);
      }
    };
    const calm = calmly(400, () => look.current());
    calm();
    const end = onNews(calm);
    return () => {
      end();
      calm.stop();
      leaving.abort();
    };
  }, [asked]);
  const more = () => {
    shown.current = found.items.length + 100;
    look.current();
  };
  return [found, failure, more];
}

export function Sidebar({ route, overview }) {
  const [find, search] = useState("");
  const [handedOn, show] = useState(false);
  const [agent, choose] = useState("");
  const [text, type] = useState("");
  const later = useRef(0);
  const [page, failure, more] = useConversations({ find, handedOn, agent });
  const [now, tick] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => tick(Date.now()), 30_000);
    return () => clearInterval(timer);
  }, []);
  const typed = (event) => {
    const said = event.target.value;
    type(said);
    clearTimeout(later.current);
    later.current = setTimeout(() => search(said.trim()), 150);
  };
  return html`<nav class="sidebar" aria-label="Conversations">
    <div class="filters">
      <input id="search" type="search" placeholder="Search what was said, or an id" aria-label="Search conversations" value=${text} onInput=${typed} />
      <div class="row">
        <select aria-label="Agent" value=${agent} onChange=${(event) => choose(event.target.value)}>
          <option value="">all agents</option>
          ${overview?.agents.map((name) => html`<option value=${name}>${name}</option>`)}
        </select>
        <label class="check" title="Those too that an agent has begun with another">
          <input type="checkbox" checked=${handedOn} onChange=${(event) => show(event.target.checked)} />
          handed on
        </label>
      </div>
    </div>
    ${failure && html`<${Trouble} failure=${failure} />`}
    ${page.loaded && !page.items.length && html`<${Empty} title=${find ? "Nothing was said like that" : "No conversations yet"}>${!find && html`Say something: <code>pelton send AGENT TEXT</code>`}<//>`}
    <ul class="conversations">
      ${page.items.map((each) => html`<${Row} key=${`${each.agent} ${each.id}`} each=${each} now=${now} current=${route.context === each.id} />`)}
    </ul>
    ${page.next && html`<button class="more" onClick=${more}>Show more of ${page.total.toLocaleString("en")}</button>`}
  </nav>`;
}

const Row = ({ each, now, current }) => html`<li>
  <a href=${elsewhere({ page: "conversations", context: each.id })} class=${current ? "current" : ""} aria-current=${current ? "page" : null}>
    <span class="text">${each.text || html`<em>${each.waiting ? "not begun yet" : "no task"}</em>`}</span>
    <span class="ago">${ago(each.time, now)}</span>
    <span class="who">${each.agent}${each.by && html`<span class="by"> for ${each.by}</span>`}</span>
    <${State} state=${each.stopped ? "damaged" : each.state} />
  </a>
</li>`;
