// Going on with a task from an entry with something otherwise: the form, and the wait for it.

import { brief, get, html, lasting, post, segment, useEffect, useFetched, useRef, useState } from "./lib.js";
import { elsewhere } from "./route.js";

const TOOLS = {
  recorded: "have what the original had",
  live: "run, with all their effects",
  refused: "fail",
};

/** What is otherwise, as the API takes it; the failure says what cannot be read. */
function body({ of, task, entry, start, message, result, key, model, prompt, tools, live, stubs, drop }) {
  const asked = { of, task, tools, live: live.split(",").map((name) => name.trim()).filter(Boolean), drop, stubs: stubsOf(stubs) };
  if (!start) Object.assign(asked, { sequence: entry.sequence }, entry.place ? { event: entry.place } : {});
  if (message.trim()) asked.message = message;
  if (model.trim()) asked.model = model.trim();
  if (prompt.trim()) asked.prompt = prompt;
  if (key && result !== null && !start) asked.results = { [key]: JSON.parse(result) };
  return asked;
}

/** What steps are to return without running: a line each, of a name, an equals sign and JSON. */
function stubsOf(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    if (at < 1) throw new SyntaxError();
    return [line.slice(0, at).trim(), JSON.parse(line.slice(at + 1))];
  }));
}

/** The result of the step that an entry completes: its key, and what it was. */
async function resultOf(context, fork, entry) {
  const at = { fork, sequence: entry.sequence, place: entry.place, what: "record", path: "[]" };
  const found = await get(`conversations/${segment(context)}/inside`, at);
  const { key, result } = found.value;
  return { key, text: found.cuts.length || result === undefined ? "" : JSON.stringify(result, null, 2) };
}

export function ForkForm({ route, entry, close }) {
  const dialog = useRef(null);
  const step = entry.name === "StepCompleted" || entry.name === "StepFailed";
  const [form, keep] = useState({ message: "", result: null, key: "", model: "", prompt: "", tools: "recorded", live: "", stubs: "", drop: [], start: false });
  const [was, remember] = useState("");
  const [state, turn] = useState({});
  const [now, tick] = useState(0);
  const set = (name) => (event) => keep({ ...form, [name]: event.target.type === "checkbox" ? event.target.checked : event.target.value });
  const leave = (id) => (event) => keep({ ...form, drop: form.drop.filter((each) => each !== id).concat(event.target.checked ? [id] : []) });
  const until = form.start ? undefined : entry.sequence;
  const [remembered] = useFetched(`conversations/${segment(route.context)}/memories`, { fork: route.fork, until }, until ?? 0);
  const given = (remembered?.items ?? []).filter((each) => each.version > 0 && each.touches.some((touch) => !touch.made));
  useEffect(() => dialog.current.showModal(), []);
  useEffect(() => {
    if (!step) return;
    resultOf(route.context, route.fork, entry).then(({ key, text }) => {
      remember(text);
      keep((form) => ({ ...form, key, result: text }));
    }, (failure) => turn({ failure }));
  }, []);
  useEffect(() => {
    if (!state.since) return undefined;
    const timer = setInterval(() => tick(Date.now()), 200);
    return () => clearInterval(timer);
  }, [state.since]);
  const submit = async (event) => {
    event.preventDefault();
    let asked;
    try {
      asked = body({ ...form, of: route.fork, task: entry.task, entry, result: form.result === was ? null : form.result });
    } catch {
      return turn({ failure: { message: "A result is no JSON: a text stands in quotes." } });
    }
    turn({ since: Date.now() });
    tick(Date.now());
    try {
      const made = await post("forks/new", asked);
      dialog.current?.close();
      location.hash = elsewhere({ page: "compare", left: entry.task, leftFork: route.fork, right: made.task, rightFork: made.id });
    } catch (failure) {
      turn({ failure: failure.code ? failure : { message: "There came no answer. The fork may be made all the same: look under Compare." } });
    }
  };
  const busy = Boolean(state.since);
  return html`<dialog ref=${dialog} class="form" aria-label="Fork" onClose=${close}>
    <form onSubmit=${submit}>
      <h2>Fork ${form.start ? "before the first turn" : html`after <span class="data">#${entry.sequence}${entry.place ? `/${entry.place}` : ""}</span>`}</h2>
      <p class="quiet">The task <code title=${entry.task}>${brief(entry.task)}</code> goes on from there on a log of its own. The original is only read.</p>
      <label class="check"><input type="checkbox" checked=${form.start} disabled=${busy} onChange=${set("start")} /> from before its first turn instead</label>
      ${step && !form.start && html`<label class="field"><span>Result of <code>${form.key}</code>, as JSON</span><textarea rows="4" class="data" aria-label="Result" value=${form.result ?? ""} disabled=${busy} onInput=${set("result")}></textarea></label>`}
      <label class="field">Say this there<textarea rows="2" aria-label="Message" value=${form.message} disabled=${busy} onInput=${set("message")}></textarea></label>
      <details><summary>Options of the agent</summary>
        <label class="field">Model<input type="text" aria-label="Model" value=${form.model} disabled=${busy} onInput=${set("model")} /></label>
        <label class="field">Prompt<textarea rows="3" aria-label="Prompt" value=${form.prompt} disabled=${busy} onInput=${set("prompt")}></textarea></label>
        <p class="quiet">Best before the first turn: a turn that has begun has calls behind it that were made with the old ones.</p>
      </details>
      <label class="field">Steps that begin afterwards<select aria-label="Tools" value=${form.tools} disabled=${busy} onChange=${set("tools")}>${Object.entries(TOOLS).map(([name, words]) => html`<option value=${name}>${words}</option>`)}</select></label>
      ${form.tools !== "live" && html`<label class="field">but these run, with all their effects<input type="text" aria-label="Live steps" placeholder="names, with commas between" value=${form.live} disabled=${busy} onInput=${set("live")} /></label>`}
      <label class="field">These return something without running<textarea rows="2" class="data" aria-label="Stubs" placeholder='a line each: search = ["nothing"]' value=${form.stubs} disabled=${busy} onInput=${set("stubs")}></textarea></label>
      ${given.length > 0 && html`<details><summary>Memories that it is given no more</summary>
        <ul class="drops">${given.map((each) => html`<li key=${each.id}><label class="check"><input type="checkbox" checked=${form.drop.includes(each.id)} disabled=${busy} onChange=${leave(each.id)} /> <span class="text" title=${each.id}>${each.content || html`<em>forgotten</em>`}</span></label></li>`)}</ul>
      </details>`}
      ${state.failure && html`<p class="bad said" role="alert">${state.failure.message}</p>`}
      <div class="row end">${busy && html`<span class="quiet" role="status">Going on … ${lasting(Math.max(now - state.since, 0))}</span>`}<button type="button" onClick=${() => dialog.current.close()}>${busy ? "Leave it" : "Cancel"}</button><button class="yes" disabled=${busy}>Fork</button></div>
    </form>
  </dialog>`;
}
