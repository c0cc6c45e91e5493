// What the keys do.

import { html, useEffect, useRef } from "./lib.js";

const KEYS = [
  ["← →, k j", "the entry before, the next one"],
  ["Shift ← →", "ten at a time"],
  ["Home, End", "the first one, the last one"],
  ["e", "the next one that went wrong"],
  ["f", "follow what comes"],
  ["t g s m", "timeline, graph, steps, memory"],
  ["/", "search conversations, or memories"],
  ["?", "this help"],
];

export function Help({ close }) {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  return html`<dialog ref=${dialog} class="help" aria-label="Keys" onClose=${close} onClick=${(event) => event.target === dialog.current && close()}>
    <h2>Keys</h2>
    <dl>
      ${KEYS.map(([keys, what]) => html`<dt>${keys.split(/(?=, )|(?<=, )| /).map((key) => (key.startsWith(",") ? html`<span> </span>` : html`<kbd>${key}</kbd> `))}</dt><dd>${what}</dd>`)}
    </dl>
    <p>What is looked at stands in the address: it can be kept and gone back from.</p>
    <form method="dialog"><button autofocus>Close</button></form>
  </dialog>`;
}
