"""A server on 127.0.0.1 that speaks llama.cpp's completion API and answers with the last user message."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send({"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/apply-template":
            said = [message["content"] for message in given["messages"] if message["role"] == "user"]
            return self._send({"prompt": said[-1] if said else ""})
        text = '{"name": "tea", "is_hot": true}' if "json_schema" in given else given["prompt"] or "Yes?"
        end = {"stop": True, "stop_type": "eos", "tokens_evaluated": 10, "tokens_predicted": 5}
        if not given["stream"]:
            return self._send({**end, "content": text})
        events = [{"content": text[at : at + 2], "stop": False} for at in range(0, len(text), 2)]
        lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in [*events, {**end, "content": ""}]]
        self._write("text/event-stream", "".join(lines).encode())

    def _send(self, value: object) -> None:
        self._write("application/json", json.dumps(value).encode())

    def _write(self, kind: str, body: bytes) -> None:
        with suppress(OSError):  # the client went away
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that was cancelled


@contextmanager
def fake_server() -> Iterator[str]:
    """Serve until the end of the block, and give the address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
