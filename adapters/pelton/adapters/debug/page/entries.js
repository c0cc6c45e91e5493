// The entries of a timeline, page by page: there may be very many, and few are seen at a time.

import { calmly, get, segment, useEffect, useReducer, useRef, useState } from "./lib.js";
import { onNews } from "./live.js";

const PAGE = 200;

/** Some entries of a conversation; `filters` says which. Kept up to date as the log grows. */
export function useEntries(context, fork, members, filters) {
  const key = JSON.stringify([context, fork, filters]);
  const [outline, keep] = useState({ key, total: 0, kinds: "", loaded: false });
  const [failure, fail] = useState(null);
  const [, redraw] = useReducer((n) => n + 1, 0);
  const store = useRef(null);
  if (store.current?.key !== key) store.current = fresh(key);
  const path = `conversations/${segment(context)}/entries`;

  const load = (number) => {
    const current = store.current;
    if (current.asked.has(number)) return;
    current.asked.add(number);
    get(path, { fork, ...filters, start: number * PAGE, count: PAGE }, current.leaving.signal)
      .then((found) => {
        current.pages.set(number, found.items);
        redraw();
      })
      .catch((error) => current.leaving.signal.aborted || fail(error))
      .finally(() => current.asked.delete(number));
  };

  useEffect(() => {
    const current = store.current;
    const look = async () => {
      try {
        const query = { fork, ...filters, count: 0, outline: true };
        const found = await get(path, query, current.leaving.signal);
        if (current.generation !== found.generation) current.pages.clear();
        current.generation = found.generation;
        for (const [number, items] of current.pages) {
          if (items.length < PAGE && number * PAGE + items.length < found.total) load(number);
        }
        keep({ key, total: found.total, kinds: found.kinds, loaded: true });
        fail(null);
      } catch (error) {
        if (!current.leaving.signal.aborted) fail(error);
      }
    };
    const calm = calmly(150, look);
    calm();
    const end = fork ? () => {} : onNews((news) => concerns(news, context, members.current) && calm());
    return () => {
      end();
      calm.stop();
      current.leaving.abort();
    };
  }, [key]);

  const here = outline.key === key ? outline : { total: 0, kinds: "", loaded: false };
  return {
    ...here,
    failure,
    /** The entry at a place, if it is there; else it is fetched. */
    at(place) {
      if (place < 0 || place >= here.total) return undefined;
      const page = store.current.pages.get(Math.floor(place / PAGE));
      const entry = page?.[place % PAGE];
      if (entry === undefined) load(Math.floor(place / PAGE));
      return entry;
    },
    /** Where an entry is among those that are shown: its own place, or that of the next one. */
    async find({ sequence, place }, signal) {
      const found = await get(path, { fork, ...filters, near: sequence, count: PAGE }, signal);
      let at = found.at;
      while (found.items[at - found.start]?.sequence === sequence && found.items[at - found.start].place < place) at += 1;
      return Math.min(at, Math.max(found.total - 1, 0));
    },
  };
}

function fresh(key) {
  return { key, pages: new Map(), asked: new Set(), leaving: new AbortController(), generation: 0 };
}

/** Whether news may be about a conversation: of somebody who takes part, or of whom nobody knows. */
export function concerns(news, context, members) {
  return news.contexts.some(([agent, id]) => id === context || members.some((m) => m.agent === agent && m.context === id));
}
