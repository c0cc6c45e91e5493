// An agent for pelton that is nothing but a NATS client: it says everything again, louder.
// Run it as often as you like: each command is decided once. docs/other-languages.md explains it.

import { createHash, randomUUID } from "node:crypto";
import { AckPolicy, connect, DeliverPolicy, headers, nanos } from "nats";

const AGENT = "shout";
const TENANT = process.env.PELTON_TENANT ?? "local";
const SOURCE = `executor/node-${randomUUID()}`;
const url = new URL(process.env.NATS_URL ?? "nats://127.0.0.1:4222");
const [user, pass] = [url.username, url.password].map((part) => decodeURIComponent(part) || undefined);
const nc = await connect({ servers: url.host, user, pass });
const text = new TextDecoder();
const sha256 = (...data) => data.reduce((hash, each) => hash.update(each), createHash("sha256")).digest("hex");
const now = () => new Date().toISOString();

// The records of one subject after a sequence, in order.
async function* read(subject, after = 0) {
  for (;;) {
    const question = JSON.stringify({ seq: after + 1, next_by_subj: subject });
    const found = await nc.request("$JS.API.DIRECT.GET.LOG", question, { timeout: 5000 });
    if (found.headers?.code === 404) return;
    after = Number(found.headers.get("Nats-Sequence"));
    yield { sequence: after, data: found.data, id: found.headers.get("Nats-Msg-Id") };
  }
}

// Append one commit on the state it was decided on; false if another was stored first.
async function append(subject, state, events, cause, decided = {}) {
  const id = randomUUID();
  const commit = {
    type: "pelton.Commit.v1", dataschema: "pelton:Commit.v1", specversion: "1.0",
    datacontenttype: "application/json", id, source: SOURCE, subject: state.name, time: now(),
    tenant: TENANT, actor: cause?.actor ?? SOURCE,
    correlationid: cause?.correlationid ?? id, causationid: cause?.id ?? id,
    traceparent: cause?.traceparent,
    sequence: state.sequence + 1, prevhash: state.hash, attempt: decided.attempt ?? 0,
    data: { events, command: decided.command ?? 0, handled: decided.command ?? 0 },
  };
  const expected = headers();
  expected.set("Nats-Msg-Id", id);
  expected.set("Nats-Expected-Last-Subject-Sequence", String(state.head));
  for (;;) {
    try {
      const answer = await nc.request(subject, JSON.stringify(commit), { headers: expected, timeout: 5000 });
      if (!answer.json().error) return true;
      for await (const next of read(subject, state.head)) return next.id === id; // ours, its ack lost?
    } catch (error) {
      if (error.code !== "TIMEOUT" && error.code !== "503") throw error;
    } // no answer means unknown, never "not stored": the same append again
  }
}

// What the commits of an aggregate add up to, as far as this agent needs it.
async function fold(subject, name) {
  const state = { name, head: 0, hash: "", sequence: 0, handled: 0, commands: new Set(), tasks: new Set() };
  for await (const { sequence, data } of read(subject)) {
    const commit = JSON.parse(text.decode(data));
    if (commit.prevhash !== state.hash) throw new Error(`the log was altered before ${sequence}`);
    state.head = sequence;
    state.hash = sha256(data);
    state.sequence += commit.data.events.length;
    state.handled = Math.max(state.handled, commit.data.handled);
    if (commit.data.command) state.commands.add(commit.causationid);
    for (const event of commit.data.events) {
      if (event.type === "TaskSubmitted.v1") state.tasks.add(event.taskId);
      if (event.type === "AgentRegistered.v1") state.profile = event.profile;
      if (event.type === "AgentStatusChanged.v1" && event.status === "removed") delete state.profile;
    }
  }
  return state;
}

// The id of a context, of its token in a subject.
function contextOf(token) {
  if (!token.startsWith("=")) return token;
  const bits = [...token.slice(1)].map((digit) => parseInt(digit, 32).toString(2).padStart(5, "0")).join("");
  return text.decode(Uint8Array.from(bits.match(/.{8}/g), (byte) => parseInt(byte, 2)));
}

// A task's id follows from the command that opens it, and leads back to its context.
function taskId(token, command) {
  const counted = [contextOf(token), command].flatMap((part) => {
    const size = Buffer.alloc(8);
    size.writeBigUInt64BE(BigInt(Buffer.byteLength(part)));
    return [size, part];
  });
  return `${token}-${sha256(...counted).slice(0, 16)}`;
}

// A record is a command, or something to refuse: a poison record must not stop those behind it.
function parse(sequence, data) {
  try {
    const command = JSON.parse(text.decode(data));
    if (/^pelton\.(SendMessage|CancelTask)\.v1$/.test(command.type) && command.data) return command;
  } catch {} // not even JSON
  return { id: `record-${sequence}`, correlationid: `record-${sequence}` };
}

// A command into events. A turn here is short: it begins and ends in one commit.
function decide(state, command, token) {
  const refuse = (code, reason, taskId) => [{ type: "CommandRejected.v1", commandId: command.id, code, reason, taskId }];
  if (state.commands.has(command.id)) return []; // it came before
  if (!command.type) return refuse("damaged-record", "this is no command of version 1", "");
  const cancel = command.type === "pelton.CancelTask.v1";
  const known = cancel ? command.data.taskId : command.data.message.taskId;
  if (cancel || known) {
    if (!state.tasks.has(known)) return refuse("task-not-found", "there is no such task in this context", known ?? "");
    return refuse(cancel ? "task-not-cancelable" : "unsupported-operation", "the task has ended", known);
  }
  const task = taskId(token, command.id);
  const message = { ...command.data.message, contextId: contextOf(token), taskId: task };
  const said = message.parts.map((part) => part.text ?? "").join("");
  const status = (state) => ({ type: "TaskStatusUpdated.v1", taskId: task, status: { state, timestamp: now() } });
  const artifact = { artifactId: "answer", name: "answer", parts: [{ text: said.toUpperCase() }] };
  return [
    { type: "TaskSubmitted.v1", taskId: task, message },
    { type: "TurnStarted.v2", taskId: task, turn: 1, attempt: 1, messageId: message.messageId, executor: SOURCE },
    status("TASK_STATE_WORKING"),
    { type: "TaskArtifactUpdated.v1", taskId: task, artifact, lastChunk: true },
    status("TASK_STATE_COMPLETED"),
    { type: "TurnEnded.v1", taskId: task, turn: 1, attempt: 1, outcome: "completed" },
  ];
}

// All commands of a context up to one, in order; false if somebody else decides them meanwhile.
async function work(token, upTo) {
  const subject = `evt.${AGENT}.${token}`;
  let state = await fold(subject, `${AGENT}/${contextOf(token)}`);
  for await (const { sequence, data } of read(`cmd.${AGENT}.${token}`, state.handled)) {
    if (sequence > upTo) break;
    const command = parse(sequence, data);
    const events = decide(state, command, token);
    const attempt = events.some((event) => event.type === "TurnStarted.v2") ? 1 : 0;
    if (!(await append(subject, state, events, command, { command: sequence, attempt }))) return false;
    state = await fold(subject, state.name);
  }
  return true;
}

const own = `evt.${AGENT}._agent`;
const profile = {
  name: AGENT, title: "Shout", description: "Says it again, louder.", version: "1.0.0",
  skills: [{ id: "shout", name: "Shout", description: "Says it again, louder.", tags: ["text"] }],
  inputModes: ["text/plain"], outputModes: ["text/plain"],
};
const registered = await fold(own, `${AGENT}/_agent`);
if (JSON.stringify(registered.profile) !== JSON.stringify(profile)) {
  await append(own, registered, [{ type: "AgentRegistered.v1", profile }]);
}

const manager = await nc.jetstreamManager();
await manager.consumers.add("LOG", {
  durable_name: `bells-${AGENT}`, filter_subject: `cmd.${AGENT}.>`, deliver_policy: DeliverPolicy.All,
  ack_policy: AckPolicy.Explicit, ack_wait: nanos(3000), max_deliver: -1,
});
const bells = await nc.jetstream().consumers.get("LOG", `bells-${AGENT}`);
console.log(`ready: ${AGENT} hears its bells`);
const heard = await bells.consume({ max_messages: 1 });
process.once("SIGTERM", () => heard.close()); // what is in hand is finished
for await (const bell of heard) {
  const token = bell.subject.split(".")[2];
  const done = token.startsWith("_") || await work(token, bell.seq); // schedules: not served here
  if (done) bell.ack(); // after the append, never before
  else bell.nak(500);
}
await nc.drain();
