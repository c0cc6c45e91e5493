// What is new in the log: one stream, resumed where it was, and whoever wants to know of it.

import { get } from "./lib.js";

const AGAIN = 1000;
const listeners = new Set();
const watchers = new Set();
let status = "connecting";

function tell(now) {
  if (now === status) return;
  status = now;
  for (const each of watchers) each(now);
}

/** Calls with each piece of news until the returned function is called. */
export function onNews(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Calls with `connecting`, `live` or `away`, now and whenever that changes. */
export function onStatus(watcher) {
  watchers.add(watcher);
  watcher(status);
  return () => watchers.delete(watcher);
}

/**
 * Follows the log after a record. When the stream ends, for whatever reason, it is opened again
 * after the last record that was told: so nothing is missed, and nothing comes twice.
 */
export function follow(after) {
  let last = after;
  const open = () => {
    const source = new EventSource(`/debug/api/live?after=${last}`);
    source.onopen = () => tell("live");
    source.onmessage = (event) => {
      const news = JSON.parse(event.data);
      if (news.error) return;
      last = Number(event.lastEventId);
      for (const each of listeners) each(news);
    };
    source.onerror = async () => {
      source.close();
      tell("away");
      const end = await get("overview").then((found) => found.end, (failure) => (failure.status === 401 ? -1 : last));
      if (end < 0) return; // the run has ended: the page says so
      if (end < last) location.reload(); // another log than the one that was looked at
      else setTimeout(open, AGAIN);
    };
  };
  open();
}
