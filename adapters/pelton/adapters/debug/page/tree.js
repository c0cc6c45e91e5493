// A JSON value as a tree. All of it is text from the log, and is shown as text, never as markup.

import { get, html, segment, sizeOf, useMemo, useState } from "./lib.js";

const member = (path, name) =>
  /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? (path ? `${path}.${name}` : name) : `${path}["${name}"]`;

const isBlob = (value) =>
  typeof value.sha256 === "string" && typeof value.size === "number" && typeof value.member === "string" && Object.keys(value).length === 3;

/**
 * Shows a value and what was cut off of it: `more` says where the rest is to be had. `marked` are
 * the paths that stand out. Without a `what` in `more`, the rest is only counted.
 */
export function Tree({ trimmed, more, marked = new Set(), inline = false, class: name = "" }) {
  // What is fetched later brings cuts of its own along, which are noted here too.
  const cuts = useMemo(() => new Map(trimmed.cuts.map((cut) => [JSON.stringify(cut.path), cut])), [trimmed]);
  return html`<div class="tree ${inline ? "inline" : ""} ${name}">
    <${Value} value=${trimmed.value} path="" steps=${[]} cuts=${cuts} more=${more} marked=${marked} depth=${0} inline=${inline} />
  </div>`;
}

const holds = (marked, path) => {
  for (const each of marked) {
    if (each === path || (each.startsWith(path) && /^[.[]/.test(each.slice(path.length)))) return true;
  }
  return false;
};

function Value({ value, path, steps, cuts, more, marked, depth, inline }) {
  if (value !== null && typeof value === "object") {
    if (!Array.isArray(value) && isBlob(value)) return html`<${Blob} blob=${value} fork=${more.fork} />`;
    return html`<${Members} value=${value} path=${path} steps=${steps} cuts=${cuts} more=${more} marked=${marked} depth=${depth} inline=${inline} />`;
  }
  const cut = cuts.get(JSON.stringify(steps));
  if (typeof value !== "string") return html`<span class="v-${value === null ? "null" : typeof value}">${String(value)}</span>`;
  return html`<${Text} value=${value} cut=${cut} more=${more} steps=${steps} />`;
}

function Text({ value, cut, more, steps }) {
  const [rest, keep] = useState([]);
  const shown = (cut?.shown ?? 0) + rest.reduce((sum, piece) => sum + piece.length, 0);
  const load = async () => {
    const found = await inside(more, steps, shown);
    keep([...rest, found.value]);
  };
  return html`<span class="v-string">${value}${rest}</span>${cut && shown < cut.size && html`<${More} load=${more.what && load} left=${cut.size - shown} what="characters" />`}`;
}

const inside = ({ context, ...where }, steps, first) =>
  get(`conversations/${segment(context)}/inside`, { ...where, path: JSON.stringify(steps), first });

function Members({ value, path, steps, cuts, more, marked, depth, inline }) {
  const list = Array.isArray(value);
  const [rest, keep] = useState([]);
  const members = [...(list ? value.map((each, at) => [at, each]) : Object.entries(value)), ...rest];
  const [open, turn] = useState(null);
  const cut = cuts.get(JSON.stringify(steps));
  const size = cut?.size ?? members.length;
  const brackets = list ? "[]" : "{}";
  if (!size) return html`<span class="v-null">${brackets}</span>`;
  const is = open ?? (holds(marked, path) || (inline ? size <= 4 && depth < 2 : depth < 1 || (depth < 3 && size <= 3)));
  const load = async () => {
    const found = await inside(more, steps, members.length);
    for (const each of found.cuts) cuts.set(JSON.stringify(each.path), each);
    const next = list ? found.value.map((each, at) => [members.length + at, each]) : Object.entries(found.value);
    keep([...rest, ...next]);
  };
  return html`
    <button class="fold" aria-expanded=${is} onClick=${() => turn(!is)}><span class="twist"></span>${brackets[0]}${!is && html`<span class="size">${size}</span>`}${!is && brackets[1]}</button>
    ${is && html`<ul>
      ${members.map(([name, each]) => {
        const at = list ? `${path}[${name}]` : member(path, name);
        return html`<li class=${marked.has(at) ? "marked" : ""}>
          <span class="key">${name}</span>
          <${Value} value=${each} path=${at} steps=${[...steps, name]} cuts=${cuts} more=${more} marked=${marked} depth=${depth + 1} inline=${inline} />
        </li>`;
      })}
      ${members.length < size && html`<li><${More} load=${more.what && load} left=${size - members.length} what="members" /></li>`}
    </ul>`}
  `;
}

/** Fetches what was left out, when it is asked for. */
function More({ load, left, what }) {
  const [state, turn] = useState("");
  if (!load) return html` <span class="size">… ${left.toLocaleString("en")} more ${what}</span>`;
  const fetch = () => {
    turn("loading");
    load().then(() => turn(""), (error) => turn(error.message));
  };
  return html` <button class="link more-of" onClick=${fetch} disabled=${state === "loading"}>… ${left.toLocaleString("en")} more ${what}</button>${state && state !== "loading" && html` <span class="bad">${state}</span>`}`;
}

/** Bulk that lies beside the log, by its hash: fetched when it is asked for. */
function Blob({ blob, fork }) {
  const [found, keep] = useState(null);
  const [failed, fail] = useState("");
  const shown = found?.reduce((sum, piece) => sum + piece.text.length, 0) ?? 0;
  const last = found?.at(-1);
  const load = () =>
    get(`blobs/${segment(blob.sha256)}`, { fork, first: shown }).then((piece) => keep([...(found ?? []), piece]), (error) => fail(error.message));
  return html`<span class="blob">
    <code title=${blob.sha256}>${blob.sha256.slice(0, 12)}</code> <span class="size">${sizeOf(blob.size)} of ${blob.member}</span>
    ${(!found || last.more) && html` <button class="link" onClick=${load}>${found ? "more" : "load"}</button>`}
    ${failed && html` <span class="bad">${failed}</span>`}
    ${found && (last.text === null ? html`<span class="quiet"> is no text</span>` : html`<pre>${found.map((piece) => piece.text)}</pre>`)}
  </span>`;
}
