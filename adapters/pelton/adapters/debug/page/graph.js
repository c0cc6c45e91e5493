// Who has asked whom, as of the cut: tasks as boxes, what was handed on as lines between them.

import { brief, count, Empty, html, lasting, segment, State, Trouble, useFetched, words } from "./lib.js";
import { go } from "./route.js";

const WIDE = 246, HIGH = 92, ACROSS = 96, BEND = 32, DOWN = 20;

/** Lays tasks out from left to right: each right of who asked it first, in the order of asking. */
function layOut({ nodes, edges }) {
  const known = new Map(nodes.map((each) => [each.node.task, each]));
  const asked = new Map();
  for (const edge of edges) if (!asked.has(edge.child) && known.has(edge.child)) asked.set(edge.child, edge.task);
  const below = (task) => [...asked].filter(([, by]) => by === task).map(([child]) => child);
  const places = new Map();
  let row = 0, columns = 0;
  const place = (task, column) => {
    if (places.has(task)) return;
    places.set(task, { column, row });
    columns = Math.max(columns, column + 1);
    const children = below(task).filter((child) => !places.has(child));
    for (const child of children) place(child, column + 1);
    if (!children.length) row += 1;
  };
  for (const each of nodes) if (!asked.has(each.node.task)) place(each.node.task, 0);
  for (const each of nodes) place(each.node.task, 0);
  const at = (task) => {
    const { column, row: down } = places.get(task);
    return { x: column * (WIDE + ACROSS), y: down * (HIGH + DOWN) };
  };
  return { at, width: columns * (WIDE + ACROSS) - ACROSS, height: row * (HIGH + DOWN) - DOWN, known };
}

export function Graph({ view, route, cut }) {
  const until = cut.following ? null : cut.entry?.sequence;
  const [found, failure] = useFetched(`conversations/${segment(route.context)}/graph`, { fork: route.fork, until }, cut.following ? view.total : 0);
  if (failure) return html`<${Trouble} failure=${failure} />`;
  if (!found) return html`<div class="graph"></div>`;
  if (!found.nodes.length) return html`<${Empty} title="No task was begun by then" />`;
  const { at, width, height } = layOut(found);
  const agents = [...new Set(view.members.map((each) => each.agent))];
  const known = new Set(found.nodes.map((each) => each.node.task));
  const edges = found.edges.filter((edge) => known.has(edge.task) && known.has(edge.child));
  return html`<div class="graph">
    <div class="canvas" style=${{ width: `${width}px`, height: `${height}px` }}>
      <svg width=${width} height=${height} aria-hidden="true">
        ${edges.map((edge) => html`<path class="edge ${edge.state}" d=${curve(at(edge.task), at(edge.child))} />`)}
      </svg>
      ${edges.map((edge) => html`<${Label} edge=${edge} to=${at(edge.child)} />`)}
      ${found.nodes.map((each) => html`<${Box} key=${each.node.task} each=${each} at=${at(each.node.task)} hue=${agents.indexOf(each.node.agent) % 6} chosen=${cut.entry?.task === each.node.task} />`)}
    </div>
  </div>`;
}

function curve(from, to) {
  const x = from.x + WIDE, y = from.y + HIGH / 2, end = to.y + HIGH / 2, bent = to.x - ACROSS + BEND;
  return to.x <= from.x
    ? `M${from.x + WIDE / 2} ${y} L${to.x + WIDE / 2} ${end}`
    : `M${x} ${y} C${bent - 4} ${y} ${x + 4} ${end} ${bent} ${end} H${to.x}`;
}

const Label = ({ edge, to }) => html`<button class="edge-label ${edge.state}" style=${{ left: `${to.x - ACROSS + BEND}px`, top: `${to.y + HIGH / 2 - 19}px`, width: `${ACROSS - BEND - 4}px` }} title=${`${edge.key}, turn ${edge.turn}, at ${edge.sequence}`} onClick=${() => go({ at: { sequence: edge.sequence, place: 1 }, tab: "timeline" })}>${edge.state === "reported" ? edge.key : edge.state}</button>`;

function Box({ each: { node, branch }, at, hue, chosen }) {
  const spent = ({ steps, tokens, cost }) => [
    ...(steps ? [count(steps, "step")] : []),
    ...(tokens ? [`${tokens.toLocaleString("en")} tokens`] : []),
    ...(cost ? [cost.toLocaleString("en", { maximumSignificantDigits: 3 })] : []),
  ];
  const tried = node.attempts === node.turns ? count(node.turns, "turn") : count(node.attempts, "attempt");
  const took = [lasting(node.seconds * 1000), ...(node.attempts > 1 ? [tried] : []), ...spent(node)].join(" · ");
  const below = `with ${count(branch.tasks - 1, "task")} below`, whole = spent(branch).join(" · ");
  const last = node.waits.length ? `waits for ${node.waits.join(", ")}` : branch.tasks < 2 ? "" : whole ? `all ${branch.tasks} · ${whole}` : below;
  return html`<button class="node ${words(node.state)}${chosen ? " chosen" : ""}" style=${{ left: `${at.x}px`, top: `${at.y}px`, width: `${WIDE}px`, height: `${HIGH}px` }} title=${node.task} onClick=${() => go({ task: node.task, tab: "timeline", at: null })}>
    <span class="line"><span class="agent hue-${hue < 0 ? 0 : hue}">${node.agent}</span><${State} state=${node.state || "not here yet"} /></span>
    <span class="text">${node.text || brief(node.task)}</span>
    <span class="cost" title=${took}>${node.state && took}</span>
    <span class="cost" title=${last.startsWith("all ") ? `${below}: ${whole}` : last}>${last}</span>
  </button>`;
}
