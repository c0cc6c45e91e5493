// The steps, as of the cut: what was called, how often it was tried, how long it took, what came.

import { Empty, html, lasting, segment, sizeOf, Trouble, useFetched, useState } from "./lib.js";
import { go } from "./route.js";

const PAGE = 200;

export function Steps({ view, route, cut }) {
  const until = cut.following ? null : cut.entry?.sequence;
  const [start, turn] = useState(0);
  const query = { fork: route.fork, until, task: route.task, start, count: PAGE };
  const [found, failure] = useFetched(`conversations/${segment(route.context)}/steps`, query, cut.following ? view.total : 0);
  if (failure) return html`<${Trouble} failure=${failure} />`;
  if (!found) return html`<div class="steps"></div>`;
  const { items, total, longest } = found;
  if (!total) return html`<${Empty} title="No step had begun by then" />`;
  const agents = [...new Set(view.members.map((each) => each.agent))];
  return html`<div class="steps">
    <table>
      <thead><tr><th>Step</th><th>Agent</th><th>State</th><th class="number">Took</th><th>Result</th></tr></thead>
      <tbody>${items.map((each) => html`<${Row} key=${`${each.task} ${each.turn} ${each.key}`} each=${each} longest=${longest || 1} agents=${agents} />`)}</tbody>
    </table>
    ${total > PAGE && html`<p class="pager">
      <button onClick=${() => turn(start - PAGE)} disabled=${start === 0}>‹</button>
      ${(start + 1).toLocaleString("en")} – ${(start + items.length).toLocaleString("en")} of ${total.toLocaleString("en")}
      <button onClick=${() => turn(start + PAGE)} disabled=${start + PAGE >= total}>›</button>
    </p>`}
  </div>`;
}

function Row({ each, longest, agents }) {
  const took = each.ended ? each.ended - each.began : null;
  const open = () => {
    const [sequence, place] = each.end ?? [each.sequence, each.place];
    go({ at: { sequence, place }, tab: "timeline" });
  };
  return html`<tr class=${each.state}>
    <td><button class="link" onClick=${open}>${each.key}</button>${each.tries > 1 && html` <span class="quiet">tried ${each.tries} times</span>`}</td>
    <td><span class="agent hue-${agents.indexOf(each.agent) % 6}">${each.agent}</span></td>
    <td><span class="state step-${each.state}">${each.state}</span></td>
    <td class="number">${took === null ? "–" : lasting(took)}<span class="bar"><span style=${{ width: `${(100 * (took ?? 0)) / longest}%` }}></span></span></td>
    <td class="result">${each.failure ? html`<span class="bad">${each.failure.message}</span>` : each.size ? html`<span class="quiet">${sizeOf(each.size)} beside the log</span>` : html`<code>${each.result}</code>`}</td>
  </tr>`;
}
