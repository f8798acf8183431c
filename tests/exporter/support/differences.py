"""Compares our pages with what upstream printed, and writes docs/differences.md from the comparison."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loki_cases import CASES, FIXTURES, Case, samples

DOCUMENT = Path(__file__).parents[3] / "docs" / "differences.md"
REASONS = FIXTURES / "differences.toml"

NINE = (
    "loki_session_status",
    "loki_iteration_current",
    "loki_iteration_max",
    "loki_tasks_total",
    "loki_agents_active",
    "loki_agents_total",
    "loki_cost_usd",
    "loki_events_total",
    "loki_uptime_seconds",
)
"""The metrics that upstream documents."""

ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """One series whose number is not upstream's; a number is None where the page has no such line."""

    case: str
    series: str
    upstream: float | None
    ours: float | None


def family(line: str) -> str:
    """Return the metric's name in a line of a page."""
    return line.split(" ")[2] if line.startswith("#") else line.partition("{")[0].partition(" ")[0]


def number_differences(case: Case) -> Iterator[Difference]:
    """Yield the series of the nine whose numbers differ, in upstream's order, then only ours."""
    upstream = samples(case.upstream_text)
    page = samples(case.golden.read_text("utf-8"))
    ours = {series: value for series, value in page.items() if family(series) in NINE}
    for series in [*upstream, *(series for series in ours if series not in upstream)]:
        if upstream.get(series) != ours.get(series):
            yield Difference(case.name, series, upstream.get(series), ours.get(series))


def unexplained_lines(case: Case) -> Iterator[str]:
    """Yield every other line of either text that no rule at the head of the document explains."""
    upstream, ours = case.upstream_text.splitlines(), case.golden.read_text("utf-8").splitlines()
    names = set(map(family, ours))
    for line in upstream:
        has_other_type = line.startswith("# TYPE") and line not in ours and family(line) in names
        if has_other_type or (line and family(line) not in NINE):
            yield f"upstream: {line}"
    for name in sorted(names - set(NINE)):
        if not name.startswith(("loki_mode_", "tallyship_exporter_")):
            yield f"ours: {name}"


def reasons() -> tuple[Mapping[str, str], Mapping[str, Mapping[str, str]]]:
    """Return the sentences by key, and the key of each difference by case and series."""
    table = tomllib.loads(REASONS.read_text("utf-8"))
    return table["reasons"], table["cases"]


def document() -> str:
    """Return what docs/differences.md must say."""
    sentences, keys = reasons()
    parts = [_HEAD]
    for case in CASES:
        found = list(number_differences(case))
        parts.append(f"\n## {case.name}\n\n{case.spec['title']}.\n")
        if not found:
            parts.append("\nEvery number is the same.\n")
            continue
        parts.append("\n| series | upstream | here | why |\n| --- | --- | --- | --- |\n")
        for one in found:
            why = sentences.get(keys.get(case.name, {}).get(one.series, ""), "**unexplained**")
            parts.append(f"| `{one.series}` | {_shown(one.upstream)} | {_shown(one.ours)} | {why} |\n")
    return "".join(parts)


def _shown(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.10g}"


_HEAD = """\
# Where our numbers differ from upstream's, and why

Each section is one recorded `.loki/` directory (`tests/fixtures/loki-mode/<case>`), read at the moment of its
recording. "Upstream" is what the `/metrics` of Loki Mode v5.46.0 printed then; "here" is the golden page
`<case>.prom`. Series that are not listed have the same number on both pages.

This file is generated: the numbers from the two texts, the reasons from
`tests/fixtures/loki-mode/differences.toml`. `pytest --update-goldens` writes it anew with the goldens;
a test fails when it is stale, when a difference has no reason, and when a reason has lost its difference.

Four differences are everywhere and not repeated below:

- Numbers are written as floats (`6.0` for `6`): the form of the Prometheus client library.
- `# HELP` has our own words. `# TYPE` is the same for each of the nine.
- Upstream puts an empty line between families; OpenMetrics forbids it.
- The families `loki_mode_*` and `tallyship_exporter_*` are additions of ours.
"""
