// What all parts of the page share: the library, the API, and how things are written.

import { html, render, useEffect, useMemo, useReducer, useRef, useState, useLayoutEffect, useCallback }
  from "./vendor/htm-preact-standalone.js";

export { html, render, useEffect, useMemo, useReducer, useRef, useState, useLayoutEffect, useCallback };

/** An answer that is an error: its code, and what the server says. */
export class Failure extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const pause = (seconds, signal) =>
  new Promise((done, failed) => {
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      failed(signal.reason);
    });
  });

function address(path, query = {}) {
  const at = new URL(`/debug/api/${path}`, location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") at.searchParams.set(name, value);
  }
  return at;
}

/**
 * Returns what is under a path of the API. While the bridge is away it asks again: whoever has lost
 * interest aborts.
 */
export async function get(path, query, signal) {
  for (let wait = 0.2; ; wait = Math.min(wait * 2, 2)) {
    let answer;
    try {
      answer = await fetch(address(path, query), { signal });
    } catch (error) {
      if (signal?.aborted) throw error;
    }
    if (answer && answer.status !== 503) return await read(answer);
    await pause(wait, signal);
  }
}

/** Posts to the API, once: what was asked may have been done though no answer came. */
export async function post(path, body) {
  const answer = await fetch(address(path), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return await read(answer);
}

async function read(answer) {
  const body = await answer.json();
  if (answer.ok) return body;
  if (answer.status === 401) dispatchEvent(new Event("locked"));
  throw new Failure(body.error.code, body.error.message, answer.status);
}

/** A part of a path: ids come from outside and may hold anything. */
export const segment = encodeURIComponent;

/**
 * Fetches with the component: `[value, failure, refresh]`, again when the query or the version is
 * another. The last value stays until there is a new one, unless the path is another.
 */
export function useFetched(path, query, version) {
  const key = path;
  const [found, keep] = useState({ key });
  const [count, again] = useReducer((n) => n + 1, 0);
  const asked = path && JSON.stringify([path, query]);
  useEffect(() => {
    if (!path) return undefined;
    const leaving = new AbortController();
    get(path, query, leaving.signal).then(
      (value) => keep({ key, value }),
      (failure) => leaving.signal.aborted || keep({ key, failure }),
    );
    return () => leaving.abort();
  }, [asked, version, count]);
  const current = found.key === key ? found : {};
  return [current.value, current.failure, again];
}

/** Calls at once, and then at most every so often, the last call always. */
export function calmly(milliseconds, work) {
  let timer = 0, due = false;
  const run = () => {
    due = false;
    timer = setTimeout(() => {
      timer = 0;
      if (due) run();
    }, milliseconds);
    work();
  };
  const call = () => (timer ? (due = true) : run());
  call.stop = () => clearTimeout(timer);
  return call;
}

/** `TASK_STATE_INPUT_REQUIRED` as people write it. */
export const words = (state) =>
  state.replace(/^TASK_STATE_/, "").toLowerCase().replaceAll("_", "-");

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const timeOf = (milliseconds) => clock.format(milliseconds);
export const momentOf = (milliseconds) => day.format(milliseconds);

/** How long something took: `340 ms`, `2.1 s`, `3 min`. */
export function lasting(milliseconds) {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  if (milliseconds < 100_000) return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 2 : 1)} s`;
  if (milliseconds < 6_000_000) return `${Math.round(milliseconds / 60_000)} min`;
  return `${(milliseconds / 3_600_000).toFixed(1)} h`;
}

/** How long ago something was, in a word. */
export function ago(time, now) {
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000);
  if (!time || Number.isNaN(seconds)) return "";
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

export function sizeOf(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

export const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

/** The end of an id: ids that follow from time begin alike. */
export const brief = (id) => (id.length > 13 ? `…${id.slice(-10)}` : id);

/** A task's state as a pill. */
export const State = ({ state }) =>
  state ? html`<span class="state ${words(state)}">${words(state)}</span>` : null;

/** What is said where something is missing or went wrong. */
export const Empty = ({ title, children }) =>
  html`<div class="empty"><p class="empty-title">${title}</p>${children && html`<div>${children}</div>`}</div>`;

export const Trouble = ({ failure }) =>
  html`<div class="empty trouble" role="alert"><p class="empty-title">${failure.message}</p><code>${failure.code ?? "failed"}</code></div>`;
