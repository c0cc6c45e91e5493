"""An agent that speaks ACP: `coder.py URL` asks a model, calls two tools, asks before it pays."""

from __future__ import annotations

import json
import os
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.adapters.frameworks.chat import SYSTEM, TOOLS, Broken, Json, ask, result, said
else:
    from chat import SYSTEM, TOOLS, Broken, Json, ask, result, said

ALLOW = [
    {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
]
LOCK = threading.Lock()
SESSIONS: dict[str, list[Json]] = {}
ANSWERS: dict[int, Any] = {}
ANSWERED = threading.Condition()
MODES = {"currentModeId": "all", "availableModes": [{"id": "all"}, {"id": "default"}]}
CANCELLED = threading.Event()


def send(message: Json) -> None:
    line = json.dumps({"jsonrpc": "2.0", **message}) + "\n"
    with LOCK:
        sys.stdout.write(line)
        sys.stdout.flush()


def update(session: str, **what: Any) -> None:
    send({"method": "session/update", "params": {"sessionId": session, "update": what}})


def permitted(session: str, call: Json, given: Json) -> bool:
    """Ask the client whether a call may be made."""
    id_ = len(ANSWERS) + 1
    ANSWERS[id_] = None
    wanted = {"toolCallId": call["id"], "title": call["name"], "rawInput": given}
    params = {"sessionId": session, "toolCall": wanted, "options": ALLOW}
    send({"id": id_, "method": "session/request_permission", "params": params})
    with ANSWERED:
        ANSWERED.wait_for(lambda: ANSWERS[id_] is not None)
    return bool(ANSWERS[id_]["outcome"].get("optionId") == "yes")


def called(session: str, call: Json) -> Json:
    given = json.loads(call["arguments"])
    asks = call["name"] == "pay" and MODES["currentModeId"] == "default"
    if asks and not permitted(session, call, given):
        return result(call, "refused")
    about = {"toolCallId": call["id"], "title": call["name"], "rawInput": given}
    update(session, sessionUpdate="tool_call", status="in_progress", kind="read", **about)
    found = result(call, TOOLS[call["name"]](**given))
    content = [{"type": "content", "content": {"type": "text", "text": found["content"]}}]
    update(
        session,
        sessionUpdate="tool_call_update",
        toolCallId=call["id"],
        status="completed",
        content=content,
    )
    return found


def prompt(id_: int, session: str, text: str) -> None:
    messages = SESSIONS[session]
    messages.append({"role": "user", "content": text})
    used = {"inputTokens": 0, "outputTokens": 0}

    def say(piece: str) -> None:
        if CANCELLED.is_set():
            return
        content = {"type": "text", "text": piece}
        update(session, sessionUpdate="agent_message_chunk", content=content)

    try:
        while True:
            answer = ask(sys.argv[1], messages, say)
            used["inputTokens"] += answer["usage"]["prompt_tokens"]
            used["outputTokens"] += answer["usage"]["completion_tokens"]
            messages.append(said(answer))
            if not answer["calls"]:
                break
            messages += [called(session, call) for call in answer["calls"]]
            if CANCELLED.is_set():
                send({"id": id_, "result": {"stopReason": "cancelled"}})
                return
    except Broken as error:
        send({"id": id_, "error": {"code": error.status, "message": str(error)}})
        return
    if text.endswith("Then forget."):
        SESSIONS.clear()
    send({"id": id_, "result": {"stopReason": "end_turn", "usage": used}})


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        id_, params = message.get("id"), message.get("params", {})
        match message.get("method"):
            case "initialize":
                send({"id": id_, "result": {"protocolVersion": 1, "agentCapabilities": {}}})
            case "session/new":
                session = uuid.uuid4().hex
                SESSIONS[session] = [SYSTEM]
                send({"id": id_, "result": {"sessionId": session, "modes": MODES}})
            case "session/set_mode":
                MODES["currentModeId"] = params["modeId"]
                send({"id": id_, "result": {}})
            case "session/prompt" if params["sessionId"] not in SESSIONS:
                send({"id": id_, "error": {"code": -32002, "message": "Resource not found"}})
            case "session/prompt":
                text = "".join(each["text"] for each in params["prompt"])
                threading.Thread(target=prompt, args=(id_, params["sessionId"], text)).start()
            case "session/cancel":
                CANCELLED.set()
            case None:
                with ANSWERED:
                    ANSWERS[id_] = message["result"]
                    ANSWERED.notify_all()
            case _:
                continue
    os._exit(0)


main()
