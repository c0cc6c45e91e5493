// Two tasks beside each other: a fork and its original, or any two, and where they first differ.

import { ago, brief, count, Empty, html, State, Trouble, useEffect, useFetched, useRef, useState } from "./lib.js";
import { elsewhere, go } from "./route.js";
import { Tree } from "./tree.js";

export function Compare({ route }) {
  const { left = "", right = "", leftFork = "", rightFork = "" } = route;
  const ready = left && right;
  const [found, failure] = useFetched(ready ? "diff" : "", { left, right, leftFork, rightFork }, `${left} ${right} ${leftFork} ${rightFork}`);
  return html`<section class="compare">
    <${Pick} key=${`${left} ${right} ${leftFork} ${rightFork}`} left=${left} right=${right} leftFork=${leftFork} rightFork=${rightFork} />
    ${ready && failure && html`<${Trouble} failure=${failure} />`}
    ${ready && !failure && !found && html`<${Empty} title="Comparing …" />`}
    ${ready && !failure && found && html`<${Beside} found=${found} />`}
    ${!ready && html`<${Forks} />`}
  </section>`;
}

/** Which two: ids of tasks, of which the latest are offered. */
function Pick({ left, right, leftFork, rightFork }) {
  const [a, setA] = useState(left);
  const [b, setB] = useState(right);
  const [tasks] = useFetched("tasks", { pageSize: 50 });
  const submit = (event) => {
    event.preventDefault();
    const given = { left: a.trim(), right: b.trim() };
    go({ ...given, leftFork: given.left === left ? leftFork : "", rightFork: given.right === right ? rightFork : "" });
  };
  return html`<form class="pick" onSubmit=${submit}>
    <datalist id="tasks">${tasks?.items.map(({ agent, task }) => html`<option value=${task.id}>${agent}</option>`)}</datalist>
    <label class="field"><span>One task${leftFork && html` <span class="state fork">fork</span>`}</span><input type="text" list="tasks" aria-label="One task" placeholder="id of a task" value=${a} onInput=${(event) => setA(event.target.value)} /></label>
    <label class="field"><span>Another${rightFork && html` <span class="state fork">fork</span>`}</span><input type="text" list="tasks" aria-label="Another task" placeholder="id of a task" value=${b} onInput=${(event) => setB(event.target.value)} /></label>
    <button disabled=${!a.trim() || !b.trim()}>Compare</button>
  </form>`;
}

function Forks() {
  const [found, failure] = useFetched("forks", {});
  if (failure) return html`<${Trouble} failure=${failure} />`;
  if (!found) return null;
  if (!found.items.length) return html`<${Empty} title="No forks yet">Choose an entry of a conversation, and <b>Fork here</b>; or name two tasks above.<//>`;
  return html`<div class="ledger"><h2>Forks</h2><ul class="cards">${found.items.map((each) => html`<li class="card" key=${each.id}>
    <p class="facts"><a href=${elsewhere({ page: "compare", left: each.original, leftFork: each.of, right: each.task, rightFork: each.id })}>beside its original</a><a href=${elsewhere({ context: each.context, fork: each.id })}>the fork alone</a><${State} state=${each.state} /><time title=${each.time}>${ago(each.time, Date.now())}</time></p>
    <p>${each.changed.join(", ") || "nothing otherwise"} <span class="quiet">in ${each.of && "a fork of "}<code title=${each.original}>${brief(each.original)}</code> ${each.sequence ? `after #${each.sequence}${each.event ? `/${each.event}` : ""}` : "before its first turn"}</span></p>
  </li>`)}</ul></div>`;
}

/** Rows of both; what is alike for long is folded away. */
function Beside({ found }) {
  const { left, right, rows, first } = found;
  const table = useRef(null);
  const [all, show] = useState(false);
  useEffect(() => {
    table.current?.querySelector(".first")?.scrollIntoView({ block: "center" });
  }, [found]);
  const near = (at) => all || [at - 1, at, at + 1].some((place) => rows[place] && !rows[place].alike);
  const shown = [];
  for (let at = 0; at < rows.length; at += 1) {
    if (near(at)) {
      shown.push(html`<${Row} key=${rows[at].what} row=${rows[at]} first=${at === first} left=${left} right=${right} />`);
      continue;
    }
    const from = at;
    while (at + 1 < rows.length && !near(at + 1)) at += 1;
    shown.push(html`<tr class="folded" key=${`folded ${from}`}><td colspan="2"><button class="link" onClick=${() => show(true)}>… ${at - from + 1} alike</button></td></tr>`);
  }
  return html`<p class="verdict ${first < 0 ? "same" : "other"}" role="status">${first < 0 ? "Nothing differs." : html`They first differ in <b>${rows[first]?.what ?? "what is not shown"}</b>.`} <span class="quiet">${count(found.alike, "event")} alike, ${found.differ.toLocaleString("en")} not.</span></p>
    <div class="beside" ref=${table}><table>
      <thead><tr><th><${Side} side=${left} name=${right.fork && left.fork !== right.fork ? "original" : "one"} /></th><th><${Side} side=${right} name=${right.fork ? "fork" : "another"} /></th></tr></thead>
      <tbody>${shown}</tbody>
    </table>${found.more > 0 && html`<p class="quiet">and ${found.more} more</p>`}</div>`;
}

const Side = ({ side, name }) => html`<span class="facts"><b>${name}</b><span class="agent">${side.agent}</span><${State} state=${side.state} /><a href=${elsewhere({ context: side.context, fork: side.fork, task: side.task })}><code title=${side.task}>${brief(side.task)}</code></a></span>`;

function Row({ row, first, left, right }) {
  const kind = row.alike ? "alike" : row.left && row.right ? "altered" : row.left ? "removed" : "added";
  return html`<tr class="${kind}${first ? " first" : ""}">
    <td><${Cell} row=${row} event=${row.left} side=${left} which="before" alone=${!row.right} /></td>
    <td><${Cell} row=${row} event=${row.right} side=${right} which="after" alone=${!row.left} /></td>
  </tr>`;
}

function Cell({ row, event, side, which, alone }) {
  if (!event) return html`<span class="quiet">–</span>`;
  const place = { context: side.context, fork: side.fork, at: { sequence: event.sequence, place: 1 } };
  return html`<a class="what" href=${elsewhere(place)}>${row.what} <span class="data">#${event.sequence}</span></a>
    ${(row.alike || alone) && html`<code class="words">${event.words}</code>`}
    ${!row.alike && !alone && html`<ul class="changes">${row.fields.map((each) => html`<li><code class="path">${each.path}</code> ${each[which].value === null ? html`<span class="quiet">nothing</span>` : html`<${Tree} trimmed=${each[which]} more=${{ fork: side.fork }} inline class=${which} />`}</li>`)}</ul>`}
    ${row.changed > row.fields.length && html`<p class="quiet">and ${row.changed - row.fields.length} more fields</p>`}`;
}
