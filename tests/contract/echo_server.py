"""A server on 127.0.0.1 that answers with what it was told, in any vendor's dialect, and is as strict as the vendor."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from llmorch.ports import ToolCall
from llmorch.testing.dialects import DIALECTS, Asked, Dialect, Said

UNKNOWN = "llmorch-no-such-model"
_IDS = {  # what tool call ids a vendor takes; one it does not take is answered with status 400
    "azure": r".{1,40}",
    "anthropic": r"[a-zA-Z0-9_-]+",
    "mistral": r"[a-zA-Z0-9]{9}",
}
Reply = tuple[int, str, Sequence[bytes]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a head and a body in two writes wait 40 ms for each other
    vendor: ClassVar[str]
    dialect: ClassVar[Dialect | None]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.dialect is None:
            return self._send(200, "application/json", [json.dumps({"result": "koboldcpp/mock"}).encode()])
        self._send(200, "application/json", [json.dumps(self.dialect.model_list(["mock-model"])).encode()])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        reply = kobold(self.path, body) if self.dialect is None else echo(self.vendor, self.dialect, self.path, body)
        self._send(*reply)

    def _send(self, status: int, kind: str, pieces: Sequence[bytes]) -> None:
        try:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(sum(map(len, pieces))))
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
        except OSError:  # the client was cancelled
            self.close_connection = True


def echo(vendor: str, dialect: Dialect, path: str, body: bytes) -> Reply:
    """The answer to a request: a tool call, a value, or the last user message, said two characters at a time."""
    asked = dialect.asked("POST", path, body)
    given = json.loads(body)
    model = asked.model or path
    wrong = complaint(vendor, given, asked)
    if asked.kind != "answer" or UNKNOWN in model:
        return _error(dialect, 404, f"there is no {model}")
    if wrong:
        return _error(dialect, 400, wrong)
    said = Said(last_text(given) or "Yes?", input_tokens=10, output_tokens=5)
    if asked.tools and not asked.has_results:
        said = Said("", (ToolCall("callab123", next(iter(asked.tools)), '{"city": "Bergen"}'),))
    elif asked.schema is not None:
        said = Said('{"name": "tea", "is_hot": true}')
    if not asked.is_streamed:
        return 200, "application/json", [json.dumps(dialect.whole(said)).encode()]
    pieces = [said.text[at : at + 2] for at in range(0, len(said.text), 2)]
    return 200, dialect.stream_kind, dialect.events(said, pieces)


def _error(dialect: Dialect, status: int, message: str) -> Reply:
    return status, "application/json", [json.dumps(dialect.error_body(status, message)).encode()]


def complaint(vendor: str, given: Mapping[str, Any], asked: Asked) -> str:
    """What the vendor's own server says against the request, of the things a conversation with tools gets wrong."""
    messages = given.get("messages") or given.get("contents") or []
    if not messages:
        return "messages: at least one message is required"
    used = [call for message in messages for call in calls_in(message)]
    form = _IDS.get(vendor, ".+")
    bad = next((call for call in used if not re.fullmatch(form, call)), None)
    if bad is not None:
        return f"tool call id {bad!r} does not match {form}"
    if vendor == "anthropic" and used and not given.get("tools"):
        return "Requests which include `tool_use` or `tool_result` blocks must define tools"
    if vendor == "anthropic" and not given.get("max_tokens"):
        return "max_tokens: field required"
    return ""


def calls_in(message: Mapping[str, Any]) -> list[str]:
    """Ids of tool calls and of their results in one message of any dialect but Gemini's, which needs none."""
    found = [call["id"] for call in message.get("tool_calls") or [] if "id" in call]
    if message.get("tool_call_id"):
        found.append(message["tool_call_id"])
    content = message.get("content")
    for block in content if isinstance(content, list) else []:
        found += [block[name] for name in ("id", "tool_use_id") if name in block]
    return found


def last_text(given: Mapping[str, Any]) -> str:
    """The text of the last user message, in any dialect."""
    for message in reversed(given.get("messages") or given.get("contents") or []):
        content = message.get("content", message.get("parts"))
        text = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])
        if message.get("role") == "user" and text:
            return text
    return ""


def kobold(path: str, body: bytes) -> Reply:
    """The last user message of a prompt in the form of Llama 3, as KoboldCpp says it."""
    prompt = json.loads(body)["prompt"]
    turns = re.findall(r"<\|start_header_id\|>user<\|end_header_id\|>\n\n(.*?)<\|eot_id\|>", prompt, re.DOTALL)
    text = turns[-1] if turns else "Yes?"
    if path == "/api/v1/generate":
        result = {"text": text, "finish_reason": "stop", "prompt_tokens": 10, "completion_tokens": 5}
        return 200, "application/json", [json.dumps({"results": [result]}).encode()]
    if path != "/api/extra/generate/stream":
        return 404, "application/json", [b'{"detail": "not found"}']
    pieces = [text[at : at + 2] for at in range(0, len(text), 2)]
    events = [{"token": piece, "finish_reason": None} for piece in pieces] + [{"token": "", "finish_reason": "stop"}]
    return 200, "text/event-stream", [f"event: message\ndata: {json.dumps(one)}\n\n".encode() for one in events]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was cancelled; what is wrong with a request shows as a broken answer


@contextmanager
def echo_server(vendor: str, dialect: str | None) -> Iterator[str]:
    """Serve until the end of the block, and give the origin; without a dialect it is a Kobold."""
    kind = type("Handler", (_Handler,), {"vendor": vendor, "dialect": DIALECTS[dialect] if dialect else None})
    server = _Server(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
