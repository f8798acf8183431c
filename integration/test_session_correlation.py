"""All lines of a session by one LogQL query, in order: the README's, on a real Loki."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from integration import deploy_loki
from integration.containers import Loki

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text("utf-8")
HOUR_NS = 3600 * 10**9
LIMIT_BYTES = 262_144
CODING = "20261121-004343-e8f15311"
"""Four turns with tools, the answers streamed."""
PARALLEL = "20261121-004347-b69f1f50"
"""Five requests at the same time, whose answers come in another order."""
LONG = "20261121-010000-10461046"
"""Written here: so many lines that Loki gives them in several pages."""
LONG_LINES = 12_001
BIG = "20261121-020000-b16b0d1e"
"""Written here: bodies that are longer than Loki takes a line to be."""

pytestmark = pytest.mark.usefixtures("loki")


@dataclass(frozen=True)
class Shipped:
    """A Loki that has the sessions, and each session's lines as they are in its file."""

    loki: Loki
    sessions: dict[str, list[str]]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """Give recorded sessions and a long one, sent by the real shipper in one run."""
    root = tmp_path_factory.mktemp("proxy")
    sessions = deploy_loki.recorded_as_of_today(root / "logs")
    sessions[LONG] = long_session()
    sessions[BIG] = big_session()
    for session in (LONG, BIG):
        path = root / f"logs/api.anthropic.com/2026-11-21/{session}.jsonl"
        path.write_text("".join(line + "\n" for line in sessions[session]), "utf-8")
    loki = deploy_loki.start()
    try:
        deploy_loki.ship(loki, root / "logs", root / "state", "--max-stream-rate", "0")
        yield Shipped(loki, sessions)
    finally:
        loki.container.stop()


def long_session() -> list[str]:
    """Return more lines than Loki gives at once, requests and responses in turn, fifty at a time."""
    began_s = time.time() - 100
    return [
        written(LONG, number, began_s + number // 50 / 10, json.dumps({"n": number}))
        for number in range(LONG_LINES)
    ]


def big_session() -> list[str]:
    """Return a prompt of 3 MB, and an answer just over the limit, between ordinary lines."""
    began_s, text = time.time() - 90, 'Füße, 日本語, 🙂, \\u2028 and "quotes"\n'
    sizes = (10, 10, 70_000, 5_700, 10, 10)
    return [written(BIG, number, began_s + number, text * size) for number, size in enumerate(sizes)]


def written(session: str, number: int, at_s: float, body: str) -> str:
    """Return a line as llm-proxy writes it: a request if the number is even, else a response."""
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    record = {
        "_meta": {
            "host": "api.anthropic.com",
            "machine": "dev@workstation-1",
            "request_id": f"{number // 2:08d}",
            "session": session,
            "ts": at,
        },
        "body": body,
        "seq": number // 2 + 1,
        "type": "response" if number % 2 else "request",
    }
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def documented_query(session: str) -> str:
    """Return the query that stands in the README, for this session."""
    (query,) = re.findall(r'^    (\{app="llm-proxy"\} \| session_id="[^"]+")$', README, re.MULTILINE)
    found, replaced = re.subn(r'session_id="[^"]+"', f'session_id="{session}"', query)
    assert replaced == 1
    return found


def lines_of(shipped: Shipped, session: str, *, limit: int = 5000) -> list[str]:
    """Return what the query gives, page by page."""
    now_ns = time.time_ns()
    query = documented_query(session)
    return list(
        deploy_loki.by_page(
            shipped.loki, query, start_ns=now_ns - HOUR_NS, end_ns=now_ns + HOUR_NS, limit=limit
        )
    )


@pytest.mark.parametrize("session", [CODING, PARALLEL])
def test_the_query_gives_all_lines_of_a_session_in_order_with_full_bodies(
    shipped: Shipped, session: str
) -> None:
    """Start, requests and responses, to the byte as they are in the file, and nothing of another session."""
    expected = shipped.sessions[session]
    kinds = [json.loads(line)["type"] for line in expected]

    assert {"session_start", "request", "response"} == set(kinds)
    assert lines_of(shipped, session) == expected


@pytest.mark.parametrize("limit", [2, 3, 1000])
def test_the_pages_of_a_session_join_without_a_gap_and_without_a_repeat(shipped: Shipped, limit: int) -> None:
    """However long a page is, the session is the same."""
    assert lines_of(shipped, CODING, limit=limit) == shipped.sessions[CODING]


def test_a_session_longer_than_lokis_answer_is_had_in_pages(shipped: Shipped) -> None:
    """12,001 lines, 5,000 in an answer at most; those of one time keep the file's order."""
    assert lines_of(shipped, LONG) == shipped.sessions[LONG]


def test_bodies_beyond_lokis_limit_are_in_the_session_in_parts_and_whole_when_joined(
    shipped: Shipped,
) -> None:
    """The same query: what goes in parts comes in parts, one after another, and joined it is the session."""
    expected = shipped.sessions[BIG]
    found = lines_of(shipped, BIG, limit=10)

    assert max(len(line.encode()) for line in expected) > 3_000_000
    assert max(len(part.encode()) for part in found) <= LIMIT_BYTES
    assert len(found) > len(expected)
    assert "".join(found) == "".join(expected)


def test_the_parts_of_a_line_say_which_they_are(shipped: Shipped) -> None:
    """`line_id`, `part` and `parts`: by them one line is had alone, with `cat`, too."""
    expected = [line for line in shipped.sessions[BIG] if len(line.encode()) > LIMIT_BYTES]
    now_ns = time.time_ns()
    streams = shipped.loki.query(
        f'{documented_query(BIG)} | line_id!=""', start_ns=now_ns - HOUR_NS, end_ns=now_ns
    )

    lines: dict[str, dict[int, str]] = {}
    for one in streams:
        meta = one["stream"]
        for _, text in one["values"]:
            lines.setdefault(meta["line_id"], {})[int(meta["part"])] = text
            assert int(meta["parts"]) > 1
    joined = {name: "".join(parts[number] for number in sorted(parts)) for name, parts in lines.items()}
    assert sorted(joined.values()) == sorted(expected)
    for name, line in joined.items():
        assert cat(shipped.loki, name) == line


def cat(loki: Loki, line_id: str) -> str:
    """Return what `tallyship-shipper cat` writes."""
    argv = [sys.executable, "-m", "shipper", "cat", "--loki-url", loki.url, "--line-id", line_id]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_every_recorded_session_is_found(shipped: Shipped) -> None:
    """Each by the same query, also those whose requests run at the same time."""
    for session, lines in shipped.sessions.items():
        if session not in {BIG, *masked(shipped)}:
            assert sorted(lines_of(shipped, session)) == sorted(lines), session


def masked(shipped: Shipped) -> set[str]:
    """Return the sessions whose recorded lines hold something that is masked on its way."""
    return {session for session, lines in shipped.sessions.items() if any("eyJ" in line for line in lines)}
