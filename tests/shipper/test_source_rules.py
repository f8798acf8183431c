"""Rules of a source: in the configuration, at work, and explained by `dry-run`."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from shipper_world import World

from shipper.cli import main
from shipper.configuration.config import ConfigError, load
from shipper.sources.jsonl import Jsonl
from shipper.sources.rules import rules_of

RULED = """
[[source]]
kind = "jsonl"
path = "/logs/*.jsonl"
app = "agents"
timestamp = "at"
labels = { region = { field = "region", max_values = 2 } }
"""


def test_rules_stand_in_the_table_of_their_source(tmp_path: pathlib.Path) -> None:
    """And hold for it alone."""
    file = tmp_path / "shipper.toml"
    file.write_text(RULED)

    (source,) = load({"loki_url": "http://localhost:3100"}, (), str(file), {}, "u@h").sources
    info = source.describe("/logs/a.jsonl")
    parsed = source.parse([b'{"at":1795222949,"region":"eu"}'], info, "")

    assert parsed.owns == [1795222949 * 10**9]
    labels = source.labels(info, parsed.keys[0])
    assert (labels["app"], labels["region"]) == ("agents", "eu")


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        (
            "jsonl",
            "timestamp = 5\nlabels = { app = 'x' }\nfoo = 1",
            [
                "source jsonl=/logs: unknown foo",
                "source jsonl=/logs: timestamp: must name a field, not 5",
                "source jsonl=/logs: label app: the name is taken",
            ],
        ),
        ("llm-proxy", "timestamp = 'at'", ["source llm-proxy=/logs: unknown timestamp"]),
    ],
)
def test_bad_rules_are_told_all_at_once_with_their_source(
    kind: str, more: str, told: list[str], tmp_path: pathlib.Path
) -> None:
    """Other kinds have no rules: what they say is known."""
    file = tmp_path / "shipper.toml"
    file.write_text(f"[[source]]\nkind = '{kind}'\npath = '/logs'\n{more}\n")

    with pytest.raises(ConfigError) as raised:
        load({"loki_url": "http://localhost:3100"}, (), str(file), {}, "u@h")

    assert raised.value.problems == told


def test_values_above_a_rules_cap_are_other_also_after_a_restart(world: Callable[..., World]) -> None:
    """The first two that came keep their streams."""
    rules, problems = rules_of({"labels": {"region": {"field": "region", "max_values": 2}}})
    shop = world(sources=lambda logs: [Jsonl(f"{logs}/*.jsonl", "test", "u@h", rules=rules)])
    shop.start()
    for region in ("eu", "us", "mars"):
        shop.write("a.jsonl", shop.line(region, region=region))
    shop.settle()
    shop.crash()
    shop.start()
    for region in ("venus", "us", "eu"):
        shop.write("a.jsonl", shop.line(region, region=region))
    shop.settle()

    counts = {name: len(lines) for name, lines in shop.streams().items()}
    assert problems == []
    assert counts == {"region=eu": 2, "region=us": 2, "region=other": 2}


def test_dry_run_explains_the_rules_on_the_first_lines_of_the_newest_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent; secrets are masked here, too."""
    logs = tmp_path / "logs"
    logs.mkdir()
    line = {"at": 1795222949, "region": "eu", "key": f"sk-ant-api03-{'aB3' * 31}AA"}
    (logs / "old.jsonl").write_text("old\n")
    (logs / "new.jsonl").write_text(json.dumps(line) + "\nsecond\nthird\n")
    os.utime(logs / "old.jsonl", (1, 1))
    file = tmp_path / "shipper.toml"
    file.write_text(RULED.replace("/logs", str(logs)))
    monkeypatch.setenv("HOME", str(tmp_path))

    shown = CliRunner().invoke(main, ["dry-run", "--config", str(file), "--explain", "2"])

    assert shown.exit_code == 0, shown.output
    for text in (
        f"source jsonl={logs}/*.jsonl",
        "  label region from region: 2 values at most, else other",
        "    time 2026-11-21T01:02:29.000000000Z: at is 1795222949",
        '    label region: eu, region is "eu"',
        "  second",
        "    no JSON object: sent as it is; labels from fields, and metadata, are left out",
    ):
        assert text in shown.output.splitlines()
    assert not any(text in shown.output for text in ("old", "third", "aB3"))


def test_dry_run_says_where_there_is_nothing_to_explain(tmp_path: pathlib.Path) -> None:
    """No file, or none with a whole line."""
    (tmp_path / "a.jsonl").write_text("unfinished")

    shown = CliRunner().invoke(main, ["dry-run", "--source", f"jsonl={tmp_path}/*.jsonl", "--explain", "1"])

    assert shown.output.splitlines() == [f"source jsonl={tmp_path}/*.jsonl", "  no file with a whole line"]
