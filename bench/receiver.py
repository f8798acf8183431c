"""A receiver with Loki's rules on a real socket: for tests, benchmarks and the demo.

`Model` is the rules (measured on Loki 3.7.8), values in, values out; `Receiver` is the socket. As a script:

    python bench/receiver.py --port 0
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import threading
import time
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

HOUR_NS = 3600 * 10**9
BODY_LIMIT_BYTES = 100 << 20
_PROTOBUF_LIMIT_BYTES = 4 << 20

Labels = tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """What is answered, and, for a scripted one, whether the rules were applied (the lines stored) before."""

    status: int
    text: str = ""
    stored: bool = False


@dataclass
class Rules:
    """Loki's limits, at their defaults."""

    max_line_bytes: int = 256 * 1024
    reject_old_ns: int | None = 7 * 24 * HOUR_NS
    grace_ns: int = 10 * 60 * 10**9
    window_ns: int = HOUR_NS
    max_push_bytes: int = _PROTOBUF_LIMIT_BYTES


@dataclass
class Model:
    """A Loki in memory: what a push stores and what it is answered."""

    now_ns: Callable[[], int] = time.time_ns
    rules: Rules = field(default_factory=Rules)
    entries: dict[Labels, dict[tuple[int, str], dict[str, str]]] = field(default_factory=dict)
    newest_ns: dict[Labels, int] = field(default_factory=dict)
    pushes: int = 0
    repeats: int = 0
    """Entries that were there already, with the same nanosecond and text, and were dropped."""
    problems: list[str] = field(default_factory=list)
    """What no client of ours should ever do."""

    def push(self, body: bytes) -> Answer:
        """Apply a push; the answer is that of the last stream, as Loki's is."""
        self.pushes += 1
        if "\\ud8" in body.decode("utf-8", "replace").replace("\\\\", ""):
            return Answer(400, "lone surrogate")
        try:
            streams = json.loads(body)["streams"]
        except (ValueError, KeyError, TypeError) as error:
            self.problems.append(f"no push: {error}")
            return Answer(400, f"couldn't parse push request: {error}")
        if len(streams) != 1:
            self.problems.append(f"{len(streams)} streams in a push")
        if len(body) > self.rules.max_push_bytes:
            return Answer(500, "rpc error: code = ResourceExhausted desc = received message larger than max")
        answer = Answer(422, "at least one valid stream is required")
        for stream in streams:
            answer = self._stream(stream)
        return answer

    def _stream(self, stream: dict[str, Any]) -> Answer:
        labels: Labels = tuple(sorted(stream["stream"].items()))
        if len(labels) > 15 or any(not isinstance(v, str) or len(v) > 2048 for _, v in labels):
            self.problems.append(f"labels {labels}")
            return Answer(400, "label limit")
        refused: list[str] = []
        ignored: list[str] = []
        kept = self.entries.setdefault(labels, {})
        values = stream["values"]
        for value in values:
            ns, line = int(value[0]), value[1]
            meta = value[2] if len(value) > 2 else {}
            if any(not isinstance(v, str) for v in meta.values()):
                self.problems.append("metadata that is no text")
                return Answer(400, "structured metadata must be strings")
            problem = self._validation(ns, line)
            if problem:
                refused.append(problem)
                continue
            newest = self.newest_ns.get(labels, ns)
            if ns < newest - self.rules.window_ns:
                oldest = _rfc3339(newest - self.rules.window_ns)
                ignored.append(
                    f"entry with timestamp {_rfc3339(ns)} ignored, reason: 'entry too far behind, "
                    f"entry timestamp is: {_rfc3339(ns)}, oldest acceptable timestamp is: {oldest}'"
                )
                continue
            self.newest_ns[labels] = max(newest, ns)
            if (ns, line) in kept:
                self.repeats += 1
            else:
                kept[ns, line] = meta
        if ignored:
            text = ",\n".join(ignored[:10])
            return Answer(
                400, f"{text},\ntotal ignored: {len(ignored)} out of {len(values)} for stream: {labels}"
            )
        if refused:
            return Answer(400, f"{len(refused)} errors like: {refused[0]}")
        return Answer(204)

    def _validation(self, ns: int, line: str) -> str:
        now_ns = self.now_ns()
        if len(line.encode()) > self.rules.max_line_bytes:
            return f"max entry size '{self.rules.max_line_bytes}' bytes exceeded"
        if self.rules.reject_old_ns is not None and ns < now_ns - self.rules.reject_old_ns:
            oldest = _rfc3339(now_ns - self.rules.reject_old_ns)
            return f"entry has timestamp too old: {_rfc3339(ns)}, oldest acceptable timestamp is: {oldest}"
        if ns > now_ns + self.rules.grace_ns:
            return f"entry has timestamp too new: {_rfc3339(ns)}"
        return ""

    def lines(self) -> list[str]:
        """Return all lines of all streams, each stream in order of time."""
        return [
            line for kept in self.entries.values() for _, line in sorted(kept, key=lambda entry: entry[0])
        ]


def _rfc3339(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Request(NamedTuple):
    """One push as it came."""

    headers: dict[str, str]
    body: bytes
    at_s: float


class Receiver:
    """The rules on a socket. `script(request)` may answer in the model's place (None: the model answers)."""

    def __init__(
        self,
        *,
        port: int = 0,
        model: Model | None = None,
        latency_s: float = 0.0,
        sink: bool = False,
        script: Callable[[Request], Answer | None] | None = None,
    ) -> None:
        self.model = model or Model()
        self.latency_s = latency_s
        self.sink = sink
        self.script = script
        self.ready = Answer(200, "ready\n")
        """What it answers to a GET; with the status 0 it hangs up."""
        self.requests: list[Request] = []
        self.keep_requests = False
        self.lock = threading.Lock()
        self.pushes = 0
        self.received_bytes = 0
        self._server = _Server(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    def answer(self, request: Request) -> Answer:
        """Return the answer to a push."""
        with self.lock:
            self.pushes += 1
            self.received_bytes += len(request.body)
            if self.keep_requests:
                self.requests.append(request)
            scripted = self.script(request) if self.script is not None else None
            if scripted is not None:
                if scripted.stored:
                    self.model.push(request.body)
                return scripted
            return self.model.push(request.body)

    @property
    def connections(self) -> int:
        """How many connections it has taken."""
        return self._server.taken

    def close(self) -> None:
        """Stop, and end the connections that are there, as a process does that ends."""
        self._server.shutdown()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join(timeout=5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self.connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.taken = 0
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Take the next connection, and know of it."""
        connection, address = super().get_request()
        self.connections.add(connection)
        self.taken += 1
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that was killed in the middle is what this is for."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one decision after the other, read top-down
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            if length > BODY_LIMIT_BYTES:
                self._send(Answer(413, "too large"))
                return
            body = self.rfile.read(length)
            if len(body) < length:
                self.close_connection = True
                return
            if receiver.latency_s:
                time.sleep(receiver.latency_s)
            if receiver.sink:
                receiver.pushes += 1
                receiver.received_bytes += len(body)
                self._send(Answer(204))
                return
            if self.headers.get("Content-Encoding") == "gzip":
                body = zlib.decompress(body, 16 + zlib.MAX_WBITS)
            self._send(receiver.answer(Request(dict(self.headers), body, time.monotonic())))

        def do_GET(self) -> None:
            if receiver.ready.status:
                self._send(receiver.ready)
            else:
                self.close_connection = True

        def _send(self, answer: Answer) -> None:
            text = answer.text.encode()
            head = f"HTTP/1.1 {answer.status} x\r\n"
            if answer.status != 204:
                head += f"Content-Length: {len(text)}\r\n"
            else:
                text = b""
            self.wfile.write(head.encode() + b"\r\n" + text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing: requests are counted, not logged."""

    return Handler


def main() -> None:
    """Run until Ctrl-C; print the address, and what arrives."""
    parser = argparse.ArgumentParser(description="A receiver with Loki's rules.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--sink", action="store_true", help="answer 204 to everything, look at nothing")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    receiver = Receiver(port=arguments.port, latency_s=arguments.latency_ms / 1000, sink=arguments.sink)
    print(f"receiver listens on {receiver.url}", flush=True)
    shown: dict[Labels, int] = {}
    try:
        while True:
            time.sleep(1)
            if arguments.quiet or arguments.sink:
                continue
            with receiver.lock:
                counts = {labels: len(kept) for labels, kept in receiver.model.entries.items()}
                last = {labels: max(kept)[1] for labels, kept in receiver.model.entries.items() if kept}
            for labels, count in counts.items():
                if count > shown.get(labels, 0):
                    names = ", ".join(f'{name}="{value}"' for name, value in labels)
                    print(f"+{count - shown.get(labels, 0)} lines (now {count}) in {{{names}}}", flush=True)
                    print(f"   last: {last[labels][:150]}", flush=True)
                    shown[labels] = count
    except KeyboardInterrupt:
        pass
    finally:
        receiver.close()


if __name__ == "__main__":
    main()
