// The official JavaScript client of A2A against the conformance agent: what it sees, as JSON.
//
//   node client.mjs http://127.0.0.1:9999/conformance JSONRPC

import { randomUUID } from "node:crypto";
import { Role, TaskState } from "@a2a-js/sdk";
import { ClientFactory, JsonRpcTransportFactory, RestTransportFactory } from "@a2a-js/sdk/client";
import { GrpcTransportFactory } from "@a2a-js/sdk/client/grpc";

const [url, binding] = process.argv.slice(2);
const transports = {
  JSONRPC: () => new JsonRpcTransportFactory(),
  "HTTP+JSON": () => new RestTransportFactory(),
  GRPC: () => new GrpcTransportFactory(),
};
const factory = new ClientFactory({ transports: [transports[binding]()] });
const client = await factory.createFromUrl(`${url}/.well-known/agent-card.json`, "");

function request(scenario, configuration) {
  const part = {
    content: { $case: "text", value: "hello" },
    filename: "",
    mediaType: "",
    metadata: undefined,
  };
  const message = {
    messageId: `${scenario}-${randomUUID().slice(0, 8)}`,
    contextId: "",
    taskId: "",
    role: Role.ROLE_USER,
    parts: [part],
    metadata: undefined,
    extensions: [],
    referenceTaskIds: [],
  };
  return { tenant: client.tenant ?? "", message, configuration, metadata: undefined };
}

const now = {
  acceptedOutputModes: [],
  taskPushNotificationConfig: undefined,
  historyLength: undefined,
  returnImmediately: true,
};

const kind = (event) => event.payload.$case;

async function kinds(events) {
  const found = [];
  for await (const event of events) found.push(kind(event));
  return found;
}

async function refused(promise) {
  try {
    await promise;
    return "nothing";
  } catch (error) {
    return error.reason ?? error.constructor.name.replace(/^(JsonRpc|Rest)/, "");
  }
}

const task = await client.sendMessage(request("tck-artifact-text"));
const list = {
  tenant: "",
  contextId: task.contextId,
  status: TaskState.TASK_STATE_UNSPECIFIED,
  pageSize: 10,
  pageToken: "",
  historyLength: undefined,
  statusTimestampAfter: undefined,
  includeArtifacts: false,
};
const extended = await client.getAgentCard(); // the extended one, where the card declares it
const message = await client.sendMessage(request("tck-message-response"));
const streamed = await kinds(client.sendMessageStream(request("tck-stream-001")));
const open = await client.sendMessage(request("tck-input-required", now));
const canceled = await client.cancelTask({ tenant: "", id: open.id, metadata: undefined });

const delayed = await client.sendMessage(request("tck-delayed-complete", now));
const subscribed = await kinds(client.resubscribeTask({ tenant: "", id: delayed.id }));

const hook = {
  tenant: "",
  taskId: task.id,
  id: "",
  url: "http://localhost:9/hook",
  token: "",
  authentication: undefined,
};
const config = await client.createTaskPushNotificationConfig(hook);
const named = { tenant: "", taskId: task.id, id: config.id };
const configs = { tenant: "", taskId: task.id, pageSize: 10, pageToken: "" };
const found = await client.getTaskPushNotificationConfig(named);
const before = (await client.listTaskPushNotificationConfig(configs)).configs.length;
await client.deleteTaskPushNotificationConfig(named);
const after = (await client.listTaskPushNotificationConfig(configs)).configs.length;

// What pelton has beside plain A2A goes in service parameters.
const whole = await kinds(
  client.resubscribeTask(
    { tenant: "", id: delayed.id },
    { serviceParameters: { "Last-Event-ID": "0" } },
  ),
);
const again = request("tck-complete-task");
const key = { serviceParameters: { "Idempotency-Key": randomUUID() } };
const [first, second] = [await client.sendMessage(again, key), await client.sendMessage(again, key)];

console.log(
  JSON.stringify({
    text: task.artifacts[0].parts[0].content.value,
    same: (await client.getTask({ tenant: "", id: task.id, historyLength: undefined })).id === task.id,
    listed: (await client.listTasks(list)).tasks.length,
    skills: extended.skills.map((skill) => skill.id),
    hooks: [found.url, before, after],
    message: message.parts[0].content.value,
    streamed,
    canceled: canceled.status.state === TaskState.TASK_STATE_CANCELED,
    subscribed,
    whole,
    once: first.id === second.id,
    missing: await refused(client.getTask({ tenant: "", id: "nope", historyLength: undefined })),
    ended: await refused(client.cancelTask({ tenant: "", id: task.id, metadata: undefined })),
  }),
);
process.exit(0);
