// What waits for people: questions, which are answered here, and what failed for good, which is done again.

import { ago, brief, calmly, Empty, get, html, momentOf, post, Trouble, useEffect, useRef, useState } from "./lib.js";
import { onNews } from "./live.js";
import { elsewhere } from "./route.js";

const SIZE = 50;

/** A list of the API, page by page, kept up to date: `[found, failure, more]`. */
export function useList(path, query) {
  const [found, keep] = useState({ items: [], next: "", total: 0, loaded: false });
  const [failure, fail] = useState(null);
  const shown = useRef(SIZE);
  const look = useRef(() => {});
  const asked = JSON.stringify([path, query]);
  useEffect(() => {
    const leaving = new AbortController();
    shown.current = SIZE;
    look.current = async () => {
      try {
        const items = [];
        let page = { nextPageToken: "" };
        do {
          page = await get(path, { ...query, pageSize: SIZE, pageToken: page.nextPageToken }, leaving.signal);
          items.push(...page.items);
        } while (page.nextPageToken && items.length < shown.current);
        keep({ items, next: page.nextPageToken, total: page.totalSize, unsearched: page.unsearched ?? 0, loaded: true });
        fail(null);
      } catch (error) {
        if (!leaving.signal.aborted) fail(error);
      }
    };
    const calm = calmly(300, () => look.current());
    calm();
    const end = onNews(calm);
    return () => {
      end();
      calm.stop();
      leaving.abort();
    };
  }, [asked]);
  const more = () => {
    shown.current = found.items.length + SIZE;
    look.current();
  };
  return [found, failure, more];
}

export const said = (message) =>
  (message?.parts ?? []).map((part) => part.text ?? (part.data === undefined ? "" : JSON.stringify(part.data))).filter(Boolean).join("\n");

/** Where something stands in a conversation, as a link. */
export const There = ({ context, task, sequence, place = 1, children }) =>
  html`<a class="there" href=${elsewhere({ context, task: task ?? "", at: sequence ? { sequence, place } : null })}>${children}</a>`;

/** Does something once, and tells what came of it: `[state, run]`. */
function useAct() {
  const [state, turn] = useState({});
  const run = async (path, body) => {
    turn({ busy: true });
    try {
      turn({ done: await post(path, body) });
    } catch (failure) {
      turn({ failure: failure.code ? failure : { message: "There came no answer: it may have been done all the same.", code: "unavailable" } });
    }
  };
  return [state, run];
}

const Frame = ({ title, about, filter, found, failure, more, empty, children }) => html`<section class="ledger">
  <header><h1>${title}${found.loaded && html` <span class="quiet">${found.total.toLocaleString("en")}</span>`}</h1><p class="quiet">${about}</p>${filter}</header>
  ${failure && html`<${Trouble} failure=${failure} />`}
  ${found.loaded && !found.items.length && !failure && html`<${Empty} title=${empty} />`}
  <ul class="cards">${children}</ul>
  ${found.next && html`<button class="more" onClick=${more}>Show more of ${found.total.toLocaleString("en")}</button>`}
</section>`;

export function Inbox() {
  const [found, failure, more] = useList("inbox", {});
  return html`<${Frame} title="Inbox" about="What agents ask people, the oldest first." found=${found} failure=${failure} more=${more} empty="Nobody is asked anything">
    ${found.items.map((each) => html`<${Question} key=${`${each.taskId} ${each.key}`} each=${each} />`)}
  <//>`;
}

function Question({ each }) {
  const [state, run] = useAct();
  const [text, type] = useState("");
  const [actor, choose] = useState(each.approvers[0] ?? "");
  const asked = Object.values(each.message?.metadata ?? {}).find((one) => one?.tools || one?.questions) ?? {};
  const tools = Array.isArray(asked.tools) ? asked.tools : [];
  const choices = (Array.isArray(asked.questions) ? asked.questions : []).flatMap((one) => (Array.isArray(one?.choices) ? one.choices : [])).map(String);
  const answer = (body) => run("answers", { task: each.taskId, question: each.key, actor, ...body });
  const busy = state.busy || Boolean(state.done);
  const submit = (event) => {
    event.preventDefault();
    if (text.trim()) answer({ text });
  };
  return html`<li class="card question">
    <p class="facts"><span class="agent">${each.agent}</span><${There} context=${each.contextId} task=${each.taskId} sequence=${each.sequence}>${brief(each.taskId)}<//><time title=${each.time}>${ago(each.time, Date.now())}</time>${each.expires && html`<span>until ${momentOf(Date.parse(each.expires))}</span>`}</p>
    <p class="asked">${said(each.message) || "(without words)"}</p>
    ${tools.map((tool) => html`<p class="said">${String(tool?.name)} ${JSON.stringify(tool?.args ?? {})}</p>`)}
    ${each.approvers.length > 0 && html`<label class="field">as <select value=${actor} onChange=${(event) => choose(event.target.value)}>${each.approvers.map((name) => html`<option value=${name}>${name}</option>`)}</select></label>`}
    <form class="row" onSubmit=${submit}>
      ${choices.map((choice) => html`<button type="button" disabled=${busy} onClick=${() => answer({ text: choice })}>${choice}</button>`)}
      ${tools.length > 0 && html`<button type="button" class="yes" disabled=${busy} onClick=${() => answer({ approved: true })}>Approve</button>`}
      <input type="text" aria-label=${tools.length ? "Reason" : "Answer"} placeholder=${tools.length ? "Reason, if not" : "Answer"} value=${text} disabled=${busy} onInput=${(event) => type(event.target.value)} />
      ${tools.length > 0
        ? html`<button type="button" class="no" disabled=${busy} onClick=${() => answer({ approved: false, text })}>Reject</button>`
        : html`<button disabled=${busy || !text.trim()}>Answer</button>`}
    </form>
    <${Came} state=${state} what="Answered" />
  </li>`;
}

const Came = ({ state, what }) => html`
  ${state.failure && html`<p class="bad" role="alert">${state.failure.message}</p>`}
  ${state.done && html`<p class="quiet" role="status">${what}${state.done.decided ? "" : ", and it waits: nobody serves the agent now"}. <${There} context=${state.done.context} task=${state.done.task}>See the task<//></p>`}
`;

export function DeadLetters() {
  const [redriven, show] = useState(false);
  const [found, failure, more] = useList("dead-letters", { redriven: redriven || "" });
  const filter = html`<label class="check"><input type="checkbox" checked=${redriven} onChange=${(event) => show(event.target.checked)} /> those too that were done again</label>`;
  return html`<${Frame} title="Dead letters" about="What failed for good without its agent's wish, the latest first." filter=${filter} found=${found} failure=${failure} more=${more} empty="Nothing has failed for good">
    ${found.items.map((each) => html`<${Letter} key=${`${each.agent} ${each.taskId} ${each.sequence}`} each=${each} />`)}
  <//>`;
}

function Letter({ each }) {
  const [state, run] = useAct();
  return html`<li class="card letter">
    <p class="facts"><span class="agent">${each.agent}</span><${There} context=${each.contextId} task=${each.taskId} sequence=${each.sequence}>${brief(each.taskId)}<//><span class="state failed">${each.kind}</span><span>${each.attempts === 1 ? "1 attempt" : `${each.attempts} attempts`}</span><time title=${each.time}>${ago(each.time, Date.now())}</time></p>
    <p class="asked">${each.message}</p>
    <div class="row">
      ${each.redrivenAs
        ? html`<span class="quiet">done again as <${There} context=${each.contextId} task=${each.redrivenAs}>${brief(each.redrivenAs)}<//></span>`
        : html`<button disabled=${state.busy || Boolean(state.done)} onClick=${() => run("redrives", { task: each.taskId })}>${state.busy ? "Asking …" : "Do it again"}</button>`}
    </div>
    <${Came} state=${state} what="It is done again" />
  </li>`;
}
