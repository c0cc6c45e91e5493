// Where one is: in the address behind the `#`, so that it can be kept, sent, and gone back from.

import { useEffect, useState } from "./lib.js";

/** `context` is what is opened: on the page of memories, the id of one. */
const START = { page: "conversations", context: "", tab: "timeline", at: null, task: "", fork: "", until: "" };

/** An entry's place as the address has it: `17.2` is the second event of the commit at 17. */
export const placeOf = (entry) => `${entry.sequence}.${entry.place}`;

export function parsePlace(text) {
  const found = /^(\d{1,15})(?:\.(\d{1,6}))?$/.exec(text ?? "");
  return found ? { sequence: Number(found[1]), place: Number(found[2] ?? 1) } : null;
}

function parse(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", context = "", tab = ""] = path.split("/").map(decode);
  const given = new URLSearchParams(query ?? "");
  const more = Object.fromEntries(given);
  return {
    ...START,
    ...more,
    page: page || START.page,
    context,
    tab: tab || START.tab,
    at: parsePlace(given.get("at")),
  };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

export function hrefOf(route) {
  const tab = route.page === START.page && route.context && route.tab;
  const path = [route.page, route.context, tab].filter(Boolean);
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(route)) {
    if (["page", "context", "tab"].includes(name) || !value || value === START[name]) continue;
    query.set(name, name === "at" ? placeOf(value) : value);
  }
  const said = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${said ? `?${said}` : ""}`;
}

/** The route of another place: what is not said there begins anew. */
export const elsewhere = (parts) => hrefOf({ ...START, ...parts });

/** Changes a part of where one is; `quietly` without a step to go back by. */
export function go(parts, { quietly = false } = {}) {
  const href = hrefOf({ ...parse(location.hash), ...parts });
  if (href === location.hash) return;
  history[quietly ? "replaceState" : "pushState"](null, "", href);
  dispatchEvent(new Event("route"));
}

export function useRoute() {
  const [route, keep] = useState(() => parse(location.hash));
  useEffect(() => {
    const look = () => keep(parse(location.hash));
    for (const name of ["route", "hashchange", "popstate"]) addEventListener(name, look);
    return () => {
      for (const name of ["route", "hashchange", "popstate"]) removeEventListener(name, look);
    };
  }, []);
  return route;
}
