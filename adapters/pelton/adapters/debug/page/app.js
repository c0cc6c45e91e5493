// The page: what is always there, and what is looked at.

import { Compare } from "./compare.js";
import { Conversation } from "./conversation.js";
import { Help } from "./help.js";
import { calmly, Empty, get, html, render, Trouble, useEffect, useState } from "./lib.js";
import { follow, onNews, onStatus } from "./live.js";
import { Memories, Remembered } from "./memory.js";
import { DeadLetters, Inbox } from "./people.js";
import { elsewhere, go, useRoute } from "./route.js";
import { Sidebar } from "./sidebar.js";

const PAGES = { conversations: "Conversations", memory: "Memory", inbox: "Inbox", letters: "Dead letters", compare: "Compare" };
const SAID = { connecting: "Connecting", live: "Live", away: "Reconnecting" };

/** Keys that mean something wherever one is, but in a field. */
function useKeys(keys) {
  useEffect(() => {
    const press = (event) => {
      const typing = event.target.closest?.("input:not([type=range]), textarea, select, dialog");
      if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== "Escape")) return;
      const does = keys[event.key];
      if (!does) return;
      event.preventDefault();
      does(event);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}

function useOverview() {
  const [overview, keep] = useState(null);
  const [failure, fail] = useState(null);
  useEffect(() => {
    const look = () => get("overview").then(keep, fail);
    get("overview").then((first) => {
      keep(first);
      follow(first.end);
    }, fail);
    const calm = calmly(500, look);
    const end = onNews(calm);
    return () => {
      end();
      calm.stop();
    };
  }, []);
  return [overview, failure];
}

function Top({ overview, page, help }) {
  const [status, keep] = useState("connecting");
  useEffect(() => onStatus(keep), []);
  const waiting = { inbox: overview?.inbox, letters: overview?.deadLetters };
  return html`<header class="top">
    <a class="brand" href=${elsewhere({})}>pelton</a>
    <nav class="pages" aria-label="Pages">${Object.entries(PAGES).map(([name, title]) => html`<a href=${elsewhere({ page: name })} aria-current=${name === page ? "page" : null}>${title}${waiting[name] > 0 && html` <span class="badge">${waiting[name].toLocaleString("en")}</span>`}</a>`)}</nav>
    <span class="grow"></span>
    <span class="tenant" title="tenant">${overview?.tenant}</span>
    <span class="connection ${status}" role="status">${SAID[status]}</span>
    <button class="plain" aria-label="Help" title="Help (?)" onClick=${help}>?</button>
  </header>`;
}

function App() {
  const route = useRoute();
  const [overview, failure] = useOverview();
  const [helping, help] = useState(false);
  const [locked, lock] = useState(false);
  useEffect(() => {
    const close = () => lock(true);
    addEventListener("locked", close);
    return () => removeEventListener("locked", close);
  }, []);
  useKeys({
    "?": () => help(!helping),
    "/": () => {
      if (innerWidth <= 720 && route.context) go({ context: "" });
      requestAnimationFrame(() => document.getElementById("search")?.focus());
    },
    Escape: () => (helping ? help(false) : document.activeElement?.blur()),
  });
  if (locked) return html`<${Locked} />`;
  if (failure && !overview) return html`<${Trouble} failure=${failure} />`;
  return html`
    <${Top} overview=${overview} page=${route.page} help=${() => help(true)} />
    <${Body} route=${route} overview=${overview} />
    ${helping && html`<${Help} close=${() => help(false)} />`}
  `;
}

function Body({ route, overview }) {
  const { page, context } = route;
  const alone = { inbox: Inbox, letters: DeadLetters, compare: Compare }[page];
  if (alone) return html`<div class="body opened"><main tabindex="-1"><${alone} route=${route} /></main></div>`;
  const [Side, Opened, noun] = page === "memory" ? [Memories, Remembered, "memory"] : [Sidebar, Conversation, "conversation"];
  return html`<div class="body ${context ? "opened" : ""}">
    <${Side} route=${route} overview=${overview} />
    <main tabindex="-1">
      ${context
        ? html`<${Opened} key=${`${page} ${route.fork} ${context}`} route=${route} />`
        : html`<${Empty} title=${`Choose a ${noun}`}>or press <kbd>/</kbd> to search, <kbd>?</kbd> for all keys.<//>`}
    </main>
  </div>`;
}

const Locked = () => html`<main class="notice">
  <h1>This run has ended</h1>
  <p>Each run of <code>pelton dev</code> has a link of its own. Open the one that it printed last.</p>
</main>`;

render(html`<${App} />`, document.body);
