"""A server that speaks as codex's does: `appserver.py URL` asks a model, and calls two tools.

It says what the real one was seen to say, by its own schema (version 0.171).
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.adapters.frameworks.chat import SYSTEM, TOOLS, Broken, Json, ask, result, said
else:
    from chat import SYSTEM, TOOLS, Broken, Json, ask, result, said

LOCK = threading.Lock()
MESSAGES: list[Json] = [SYSTEM]
PLACE = [sys.argv[1]]
ANSWERS: dict[int, Any] = {}
ANSWERED = threading.Condition()
INTERRUPTED = threading.Event()
ABOUT = {"threadId": "thread", "turnId": "turn"}
STATUS = {401: "unauthorized", 403: "unauthorized", 400: "badRequest"}


def send(message: Json) -> None:
    line = json.dumps(message) + "\n"  # without "jsonrpc", as codex has it
    with LOCK:
        sys.stdout.write(line)
        sys.stdout.flush()


def tell(method: str, **params: Any) -> None:
    send({"method": method, "params": {**ABOUT, **params}})


def ended(status: str, error: Json | None = None) -> None:
    tell("turn/completed", turn={"id": "turn", "items": [], "status": status, "error": error})


def approved(call: Json, command: str) -> bool:
    id_ = len(ANSWERS) + 1
    ANSWERS[id_] = None
    params = {**ABOUT, "itemId": call["id"], "command": command, "startedAtMs": 0}
    send({"id": id_, "method": "item/commandExecution/requestApproval", "params": params})
    with ANSWERED:
        ANSWERED.wait_for(lambda: ANSWERS[id_] is not None)
    if ANSWERS[id_]["decision"] == "cancel":
        INTERRUPTED.set()
    return bool(ANSWERS[id_]["decision"] == "accept")


def called(call: Json) -> Json:
    given = json.loads(call["arguments"])
    item = {"id": call["id"], "type": "mcpToolCall", "server": "test", "tool": call["name"]}
    tell("item/started", item={**item, "arguments": given, "status": "inProgress"})
    if call["name"] == "pay" and not approved(call, f"pay {given['amount']}"):
        tell("item/completed", item={**item, "arguments": given, "status": "declined"})
        return result(call, "declined")
    found = result(call, TOOLS[call["name"]](**given))
    content = {"content": [{"type": "text", "text": found["content"]}]}
    tell(
        "item/completed",
        item={**item, "arguments": given, "status": "completed", "result": content},
    )
    return found


def turn() -> None:
    def say(piece: str) -> None:
        if piece:
            tell("item/agentMessage/delta", itemId="said", delta=piece)

    try:
        while True:
            answer = ask(PLACE[0], MESSAGES, say)
            used = answer["usage"]
            last = {
                "inputTokens": used["prompt_tokens"],
                "outputTokens": used["completion_tokens"],
                "cachedInputTokens": 0,
            }
            tell("thread/tokenUsage/updated", tokenUsage={"last": last, "total": last})
            MESSAGES.append(said(answer))
            if not answer["calls"]:
                break
            MESSAGES.extend(called(call) for call in answer["calls"])
            if INTERRUPTED.is_set():
                return
    except Broken as error:
        status = error.status
        info = STATUS.get(status) or {"responseTooManyFailedAttempts": {"httpStatusCode": status}}
        ended("failed", {"message": str(error), "codexErrorInfo": info})
    else:
        ended("completed")


def put(item: Json) -> None:
    """Put an item of the Responses API among the messages."""
    match item:
        case {"type": "message", "role": role, "content": content}:
            text = "".join(each["text"] for each in content)
            MESSAGES.append({"role": role, "content": text})
        case {"type": "function_call", "call_id": id_, "name": name, "arguments": given}:
            function = {"name": name, "arguments": given}
            call = {"id": id_, "type": "function", "function": function}
            MESSAGES.append({"role": "assistant", "content": None, "tool_calls": [call]})
        case {"type": "function_call_output", "call_id": id_, "output": output}:
            MESSAGES.append({"role": "tool", "tool_call_id": id_, "content": output})
        case _:
            raise AssertionError(item)


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        id_, params = message.get("id"), message.get("params", {})
        match message.get("method"):
            case "thread/start":
                assert params["ephemeral"]
                if provider := params.get("modelProvider"):
                    [told] = re.findall(rf"model_providers.{provider}={{(.*)}}", sys.argv[-1])
                    assert 'wire_api="responses"' in told
                    assert 'env_key="OPENAI_API_KEY"' in told
                    PLACE[0] = re.findall(r'base_url="(.*?)/v1"', told)[0]
                send({"id": id_, "result": {"thread": {"id": "thread"}, "model": "scripted"}})
            case "thread/inject_items":
                for item in params["items"]:
                    put(item)
                send({"id": id_, "result": {}})
            case "turn/start":
                text = "".join(each["text"] for each in params["input"])
                MESSAGES.append({"role": "user", "content": text})
                send({"id": id_, "result": {"turn": {"id": "turn"}}})
                threading.Thread(target=turn).start()
            case "turn/interrupt":
                send({"id": id_, "result": {}})
                ended("interrupted")
            case "initialize":
                send({"id": id_, "result": {"userAgent": "test"}})
            case None:
                with ANSWERED:
                    ANSWERS[id_] = message["result"]
                    ANSWERED.notify_all()
            case _:
                continue
    os._exit(0)


main()
