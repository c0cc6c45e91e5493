// Going on with a task from an entry with something otherwise: the form, and the wait for it.

import { brief, get, html, lasting, post, segment, useEffect, useRef, useState } from "./lib.js";
import { elsewhere } from "./route.js";

const TOOLS = {
  recorded: "have what the original had",
  live: "run, with all their effects",
  refused: "fail",
};

/** What is otherwise, as the API takes it; the failure says what cannot be read. */
function body({ task, entry, start, message, result, key, model, prompt, tools, live }) {
  const asked = { task, tools, live: live.split(",").map((name) => name.trim()).filter(Boolean) };
  if (!start) Object.assign(asked, { sequence: entry.sequence }, entry.place ? { event: entry.place } : {});
  if (message.trim()) asked.message = message;
  if (model.trim()) asked.model = model.trim();
  if (prompt.trim()) asked.prompt = prompt;
  if (key && result !== null && !start) asked.results = { [key]: JSON.parse(result) };
  return asked;
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
  const [form, keep] = useState({ message: "", result: null, key: "", model: "", prompt: "", tools: "recorded", live: "", start: false });
  const [was, remember] = useState("");
  const [state, turn] = useState({});
  const [now, tick] = useState(0);
  const set = (name) => (event) => keep({ ...form, [name]: event.target.type === "checkbox" ? event.target.checked : event.target.value });
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
      asked = body({ ...form, task: entry.task, entry, result: form.result === was ? null : form.result });
    } catch {
      return turn({ failure: { message: "The result is no JSON: a text stands in quotes." } });
    }
    turn({ since: Date.now() });
    tick(Date.now());
    try {
      const made = await post("forks/new", asked);
      dialog.current?.close();
      location.hash = elsewhere({ page: "compare", left: entry.task, right: made.task, rightFork: made.id });
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
      ${state.failure && html`<p class="bad said" role="alert">${state.failure.message}</p>`}
      <div class="row end">${busy && html`<span class="quiet" role="status">Going on … ${lasting(Math.max(now - state.since, 0))}</span>`}<button type="button" onClick=${() => dialog.current.close()}>${busy ? "Leave it" : "Cancel"}</button><button class="yes" disabled=${busy}>Fork</button></div>
    </form>
  </dialog>`;
}
