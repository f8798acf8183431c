"""Every query of the dashboard «LLM sessions» is asked of a real Loki, as Grafana would ask it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from integration import deploy_loki
from integration.containers import Loki
from integration.deploy_session import DEPLOY

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/llm-sessions.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
QUERY_VARIABLES = [one for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
ALL = {one["name"]: one["allValue"] for one in QUERY_VARIABLES}
BY_SESSION = ("Transcript", "Lines")
CODING = "20261121-004343-e8f15311"
RANGE_S = 3600
SPLIT = "20261121-010000-0badcafe"
"""Written here: request and answer are longer than Loki takes a line to be, and the answer is an error."""

pytestmark = pytest.mark.usefixtures("loki")


@dataclass(frozen=True)
class Shipped:
    """A Loki that has the recorded sessions, and their lines."""

    loki: Loki
    sessions: dict[str, list[str]]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """Give the recorded sessions, sent by the real shipper."""
    root = tmp_path_factory.mktemp("proxy")
    sessions = deploy_loki.recorded_as_of_today(root / "logs")
    sessions[SPLIT] = split_session()
    path = root / f"logs/api.anthropic.com/2026-11-21/{SPLIT}.jsonl"
    path.write_text("".join(f"{line}\n" for line in sessions[SPLIT]), "utf-8")
    loki = deploy_loki.start()
    try:
        deploy_loki.ship(loki, root / "logs", root / "state")
        yield Shipped(loki, sessions)
    finally:
        loki.container.stop()


def split_session() -> list[str]:
    """Return a start, a request of 700 KB and an answer of 400 KB, as llm-proxy writes them."""
    at = datetime.now(UTC) - timedelta(minutes=1)
    lines: list[dict[str, Any]] = [
        {"type": "session_start", "provider": "anthropic", "upstream": "api.anthropic.com"},
        {"type": "request", "body": "a" * 700_000, "method": "POST", "path": "/v1/messages", "seq": 1},
        {
            "type": "response",
            "body": "b" * 400_000,
            "seq": 1,
            "size": 400_000,
            "status": 529,
            "timing": {"ttfb_ms": 1, "total_ms": 2500},
        },
    ]
    for number, line in enumerate(lines):
        ts = (at + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
        line["_meta"] = {"machine": "dev@workstation-1", "session": SPLIT, "ts": ts}
    return [json.dumps(dict(sorted(line.items())), separators=(",", ":")) for line in lines]


def ask(shipped: Shipped, target: dict[str, Any], **chosen: str) -> list[dict[str, Any]]:
    """Return the result of a panel's query; what is not chosen is Grafana's «All»."""
    expr = target["expr"]
    given = {**ALL, "session": CODING, "__range": f"{RANGE_S}s", "__auto": "30s", **chosen}
    for name, value in given.items():
        expr = expr.replace(f"${name}", value)
    assert "$" not in re.sub(r"`[^`]*`", "", expr), expr
    now_ns = time.time_ns()
    params = {"query": expr, "limit": str(target.get("maxLines", 1000)), "step": "30s"}
    params["direction"] = target.get("direction", "backward")
    if target["queryType"] == "instant":
        path, params["time"] = "query", str(now_ns)
    else:
        path = "query_range"
        params |= {"start": str(now_ns - RANGE_S * 10**9), "end": str(now_ns)}
    answer = requests.get(f"{shipped.loki.url}/loki/api/v1/{path}", params=params, timeout=60)
    assert answer.status_code == requests.codes.ok, f"{expr}: {answer.text}"
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def only(title: str) -> dict[str, Any]:
    """Return the one query of a panel."""
    (target,) = PANELS[title]["targets"]
    assert isinstance(target, dict)
    return target


def numbers(shipped: Shipped, target: dict[str, Any], label: str) -> dict[str, float]:
    """Return the sum over time of each series, by this label."""
    return {
        found["metric"].get(label, ""): sum(
            float(value) for _, value in found.get("values") or [found["value"]]
        )
        for found in ask(shipped, target)
    }


@pytest.mark.parametrize("title", PANELS)
def test_every_query_of_a_panel_returns_data(shipped: Shipped, title: str) -> None:
    """Log lines or numbers that are numbers, none of them marked as one that Loki could not read."""
    for target in PANELS[title]["targets"]:
        found = ask(shipped, target)

        assert found, target["expr"]
        for one in found:
            assert "__error__" not in one.get("stream", one.get("metric")), one
            for _, value in one.get("values") or [one["value"]]:
                assert value not in {"", "NaN", "+Inf"}


@pytest.mark.parametrize("title", [title for title in PANELS if title not in BY_SESSION])
@pytest.mark.parametrize("variable", ALL)
def test_a_choice_narrows_each_panel(shipped: Shipped, title: str, variable: str) -> None:
    """A chosen provider, machine or environment that is not there leaves a panel empty, or at nothing."""
    for target in PANELS[title]["targets"]:
        assert ask(shipped, target, **{variable: "(nobody)"}) == []


def test_several_chosen_providers_are_joined(shipped: Shipped) -> None:
    """As Grafana writes them: in brackets, with `|` between."""
    found = ask(shipped, only("Lines by Provider"), provider="(openai|chatgpt)")

    assert {one["metric"]["provider"] for one in found} == {"openai", "chatgpt"}


@pytest.mark.parametrize("variable", QUERY_VARIABLES, ids=lambda one: str(one["name"]))
def test_a_variable_offers_what_there_is(shipped: Shipped, variable: dict[str, Any]) -> None:
    """What Grafana asks for the values of a label."""
    label, stream = variable["query"]["label"], variable["query"]["stream"]
    answer = requests.get(
        f"{shipped.loki.url}/loki/api/v1/label/{label}/values", params={"query": stream}, timeout=10
    )

    expected = {
        "provider": ["anthropic", "chatgpt", "openai"],
        "machine": ["dev@workstation-1"],
        "environment": ["development"],
    }
    assert answer.json()["data"] == expected[label]


def test_the_counts_are_those_of_the_files(shipped: Shipped) -> None:
    """Sessions and requests as in the files, also those of which a line went in parts."""
    kinds = [json.loads(line)["type"] for lines in shipped.sessions.values() for line in lines]
    expected = {kind: float(kinds.count(kind)) for kind in set(kinds)}

    assert numbers(shipped, only("Sessions Started"), "") == {"": expected["session_start"]}
    assert numbers(shipped, only("Requests"), "") == {"": expected["request"]}
    assert numbers(shipped, only("Busiest Sessions"), "session_id")[CODING] == 4


def test_errors_are_bad_answers_and_streams_that_ended_in_an_error(shipped: Shipped) -> None:
    """429 twice, 529 twice, one of them in parts, and an error event behind a status of 200."""
    lines = [line for one in ask(shipped, only("Latest Errors")) for _, line in one["values"]]

    assert sorted(line.split()[0] for line in lines) == ["200", "429", "429", "529", "529"]
    assert numbers(shipped, only("Errors"), "") == {"": 5}
    assert numbers(shipped, only("Errors by Status"), "status") == {"200": 1, "429": 2, "529": 2}


def test_tokens_are_what_the_providers_state_and_no_guess(shipped: Shipped) -> None:
    """The known totals; a stream that broke before it stated its output is not counted by its first guess."""
    (total,) = numbers(shipped, only("Output Tokens"), "").values()
    given, made = (
        {one["metric"]["provider"] for one in ask(shipped, target)} for target in PANELS["Tokens"]["targets"]
    )

    assert total == 562 + 110 + 123
    assert given == made == {"anthropic", "openai", "chatgpt"}


def test_recent_sessions_have_what_the_table_shows(shipped: Shipped) -> None:
    """Its columns are labels or metadata of each line, and all sessions are in it, the latest first."""
    renamed = PANELS["Recent Sessions"]["transformations"][1]["options"]["renameByName"]
    found = ask(shipped, only("Recent Sessions"))

    assert all(column in one["stream"] for column in renamed for one in found)
    assert {one["stream"]["session_id"] for one in found} == shipped.sessions.keys()


def test_the_lines_of_a_session_are_all_of_them_as_they_were(shipped: Shipped) -> None:
    """The panel's query gives the bodies to the byte, in the file's order."""
    found = ask(shipped, only("Lines"))

    entries = sorted((ns, line) for one in found for ns, line in one["values"])
    assert [line for _, line in entries] == shipped.sessions[CODING]


def test_the_transcript_reads_like_one(shipped: Shipped) -> None:
    """What was asked, and the text of streamed answers in one piece."""
    found = ask(shipped, only("Transcript"))

    entries = sorted((ns, text) for one in found for ns, text in one["values"])
    told = [text.splitlines()[0].split(" after")[0].strip() for _, text in entries]
    assert told == ["session_start api.anthropic.com", *["request POST /v1/messages", "response 200"] * 4]
    assert "Find why test_parse fails & fix it. Unicode: café 日本語" in entries[1][1]
    assert "Let me look at the failing test." in entries[2][1]


def test_every_session_has_a_transcript(shipped: Shipped) -> None:
    """Whatever the provider and however it ended: all lines, and nothing that was not read."""
    for session, lines in shipped.sessions.items():
        texts = [
            text for one in ask(shipped, only("Transcript"), session=session) for _, text in one["values"]
        ]
        for text in texts:
            assert "<no value>" not in text, session
            assert not text.startswith("response 200") or text.count("\n"), (session, text)
        assert session == SPLIT or len(texts) == len(lines)


def test_what_went_in_parts_is_in_the_transcript_as_it_is(shipped: Shipped) -> None:
    """No template can read half a line, so nothing is left out of it."""
    found = ask(shipped, only("Transcript"), session=SPLIT)

    entries = sorted((ns, text) for one in found for ns, text in one["values"])
    assert entries[0][1].startswith("session_start api.anthropic.com")
    assert "".join(text for _, text in entries[1:]) == "".join(shipped.sessions[SPLIT][1:])


def test_without_a_chosen_session_there_is_no_transcript(shipped: Shipped) -> None:
    """And not every line that has no session."""
    for title in BY_SESSION:
        assert ask(shipped, only(title), session="") == []
