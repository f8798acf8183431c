"""What COO-LLM's lines say."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from shipper.entries.stamp import FRESH, stamp_all
from shipper.redact.own import Own
from shipper.redact.redactor import Redactor
from shipper.sources.base import FileInfo, Parsed
from shipper.sources.coo_llm import LOG_TYPES, CooLlm

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "coo-llm"
PATH = "/srv/coo-llm/logs/llm.log"
S = 10**9
FIXED = {"app": "coo-llm", "environment": "test", "machine": "u@h"}
REQUEST = {
    "level": "info",
    "entry": {
        "timestamp": "2026-11-21T09:42:44+09:00",
        "provider": "openai",
        "model": "openai:gpt-4o",
        "req_id": "1795221764968516593",
        "status": 200,
    },
    "time": 1795221764,
    "message": "request",
}


def source() -> CooLlm:
    """Return the source."""
    return CooLlm(PATH, "test", "u@h")


def said(*lines: object, context: str = "") -> tuple[Parsed, FileInfo]:
    """Return what lines say, given as bytes or as what becomes JSON."""
    info = source().describe(PATH)
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return source().parse(raw, info, context), info


def recorded(name: str) -> list[bytes]:
    """Return the lines of a recording."""
    return (FIXTURES / name).read_bytes().splitlines()


def test_a_request_has_the_time_of_its_id_its_provider_as_label_and_its_ids_as_metadata() -> None:
    """`req_id` is the moment of logging in nanoseconds; the model is the client's choice, so no label."""
    parsed, info = said(REQUEST)

    assert parsed.owns == [1795221764968516593]
    assert source().labels(info, parsed.keys[0]) == {
        **FIXED,
        "log_type": "request",
        "level": "info",
        "provider": "openai",
    }
    assert parsed.metas == [{"request_id": "1795221764968516593", "model": "openai:gpt-4o"}]


@pytest.mark.parametrize(
    "request_id", ["5", "", None, 1795221764968516593, "x" * 19, "9" * 19, "٩" * 19], ids=repr
)
def test_a_request_whose_id_is_no_time_has_the_time_of_the_line(request_id: object) -> None:
    """An id of another form says nothing of when."""
    line = {**REQUEST, "entry": {"provider": "openai", "req_id": request_id}}

    assert said(line)[0].owns == [1795221764 * S]


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        (
            {
                "level": "debug",
                "operation": "IncrementUsage",
                "provider": "openai",
                "message": "store operation",
            },
            {"log_type": "store_operation", "level": "debug"},
        ),
        (
            {"level": "error", "operation": "GetCache", "message": "store operation failed"},
            {"log_type": "store_operation", "level": "error"},
        ),
        ({"level": "warn", "message": "Failed to load policy"}, {"log_type": "other", "level": "warn"}),
        ({"level": "loud", "message": ["request"]}, {"log_type": "other"}),
        ({"message": "store operation", "entry": {"provider": "x"}}, {"log_type": "store_operation"}),
        ({"message": "request", "entry": "none"}, {"log_type": "request"}),
        (b"panic: no json", {"log_type": "other"}),
    ],
)
def test_other_lines_have_their_kind_and_their_level(line: object, labels: dict[str, str]) -> None:
    """Key ids, operations and providers of the store are no labels."""
    parsed, info = said(line)

    assert source().labels(info, parsed.keys[0]) == {**FIXED, **labels}
    assert parsed.metas == [None]


@pytest.mark.parametrize(
    "time", [1795221764, "1795221764", "2026-11-21T09:42:44+09:00", "2026-11-21T00:42:44Z"], ids=repr
)
def test_time_is_taken_as_number_and_as_text(time: object) -> None:
    """The program writes the one, its documents show the other."""
    assert said({"time": time, "message": "x"})[0].owns == [1795221764 * S]


@pytest.mark.parametrize("time", [b"1795221764", b'"2026-11-21T00:42:44Z"'])
def test_a_broken_line_keeps_its_time(time: bytes) -> None:
    """A line cut by a full disk, or written by two at once."""
    parsed, _ = said(b'{"level":"info","broken":007,"time":' + time + b',"message":"x"}')

    assert (parsed.owns, parsed.malformed) == ([1795221764 * S], 1)


def test_a_line_known_to_the_second_is_not_before_the_request_that_precedes_it() -> None:
    """The order of the file is kept within the second, and the next second starts as it says."""
    later = {"time": 1795221765, "message": "x"}

    parsed, _ = said({"time": 1795221764}, REQUEST, {"time": 1795221764}, {"time": 1795221764}, later)

    assert parsed.owns == [1795221764 * S, *[1795221764968516593] * 3, 1795221765 * S]


def test_a_line_a_little_older_than_the_request_before_it_does_not_undo_what_is_known() -> None:
    """Requests are logged side by side; a clock that was put back is believed all the same."""
    ago = {"time": 1795221764 - 1, "message": "x"}
    long_ago = {"time": 1795221764 - 3600, "message": "x"}

    parsed, _ = said(REQUEST, ago, {"time": 1795221764}, long_ago, {"time": 1795221764})

    assert parsed.owns == [
        1795221764968516593,
        1795221763 * S,
        1795221764968516593,
        (1795221764 - 3600) * S,
        1795221764 * S,
    ]


@pytest.mark.parametrize("name", ["step1-llm.log", "step2-llm.log", "documented-shape.log"])
def test_a_recording_says_the_same_wherever_it_is_cut(name: str) -> None:
    """What earlier lines mean for later ones travels with the position."""
    lines = recorded(name)
    together, _ = said(*lines)

    owns: list[int | None] = []
    context = ""
    for line in lines:
        one, _ = said(line, context=context)
        owns += one.owns
        context = one.context

    assert (owns, context) == (together.owns, together.context)
    assert None not in owns
    assert together.malformed == 0


@pytest.mark.parametrize("name", ["step1-llm.log", "step2-llm.log"])
def test_a_recordings_repeated_lines_get_stamps_of_their_own_in_the_files_order(name: str) -> None:
    """Most lines repeat byte for byte within one second; Loki would keep one of each."""
    lines = recorded(name)
    owns = [own for own in said(*lines)[0].owns if own is not None]

    stamps, _ = stamp_all(owns, 7, FRESH)

    assert len(set(lines)) < len(lines) / 2
    assert len(set(stamps)) == len(lines)
    assert {stamp // S - own // S for stamp, own in zip(stamps, owns, strict=True)} == {0}


@pytest.mark.parametrize("name", ["step1-llm.log", "step2-llm.log", "documented-shape.log"])
def test_labels_of_a_recording_are_few(name: str) -> None:
    """Kind, level, and the provider of requests."""
    parsed, info = said(*recorded(name))
    found = [source().labels(info, key) for key in parsed.keys]

    assert {entry["log_type"] for entry in found} <= LOG_TYPES
    assert len(set(parsed.keys)) <= 8
    assert all(("provider" in entry) == (entry["log_type"] == "request") for entry in found)


def test_the_rule_in_the_documentation_hides_the_prompts_of_cache_lines() -> None:
    """docs/sources.md; everything else stays as it was."""
    text = (pathlib.Path(__file__).parents[3] / "docs" / "sources.md").read_text("utf-8")
    (pattern,) = re.findall(r"pattern = '([^']+)'", text)
    line = b'{"level":"error","operation":"GetCache","key":"mysecretprompt","message":"store operation"}'
    other = b'{"operation":"IncrementUsage","keyID":"openai-1","metric":"req"}'

    masked = Redactor([Own("cache_key", pattern)]).lines([line, other]).lines

    assert b"mysecretprompt" not in masked[0]
    assert json.loads(masked[0]).keys() == json.loads(line).keys()
    assert masked[1] == other
