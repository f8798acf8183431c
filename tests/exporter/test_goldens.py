from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from differences import DOCUMENT, NINE, document, number_differences, reasons, unexplained_lines
from loki_cases import CASES, Case, samples
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

PROMTOOL = Path(__file__).parents[2] / "integration" / "images" / "promtool"
EVENT_KIND_OF_TYPE = {"event:rollback": "rollback", "legacy_note": "other"}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_there_are_fourteen_cases() -> None:
    """All recorded directories are tested: a case that fell out would pass unseen."""
    assert len(CASES) == 14


@every_case
def test_page_is_the_golden(case: Case, tmp_path: Path, *, update_goldens: bool) -> None:
    """The whole page of a recorded directory is, byte for byte, the one that was checked by hand."""
    text, _ = case.pages(tmp_path)
    if update_goldens:
        case.golden.write_text(text, "utf-8")

    assert case.golden.read_text("utf-8") == text


@every_case
def test_openmetrics_tells_the_same(case: Case, tmp_path: Path) -> None:
    """The OpenMetrics page parses by its own rules and has the numbers of the text page, all of them."""
    text, open_metrics = case.pages(tmp_path)

    def numbers(families: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families  # type: ignore[attr-defined]
            for sample in family.samples
        }

    assert open_metrics.endswith("# EOF\n")
    assert numbers(parse_text(text)) == numbers(parse_openmetrics(open_metrics))


@every_case
def test_events_are_the_complete_lines(case: Case) -> None:
    """loki_events_total is the number of complete non-blank lines; kinds and rejected lines add up to it."""
    page, facts = samples(case.golden.read_text("utf-8")), case.facts["events"]
    kinds = {series: value for series, value in page.items() if series.startswith("loki_mode_events_total")}
    if facts is None:
        assert (page["loki_events_total"], kinds) == (0, {})
        return
    expected: dict[str, float] = {}
    for type_, count in facts["valid_by_type"].items():
        kind = EVENT_KIND_OF_TYPE.get(type_, type_)
        series = f'loki_mode_events_total{{kind="{kind}"}}'
        expected[series] = expected.get(series, 0) + count
    lines, valid = facts["nonblank_complete_lines"], facts["complete_lines_valid_json"]

    assert kinds == expected
    assert page["loki_events_total"] == lines
    assert page['tallyship_exporter_lines_rejected_total{source="loki-mode"}'] == lines - valid


@every_case
def test_cost_is_the_sum_of_the_records(case: Case) -> None:
    """loki_cost_usd is the sum of the measured records, absent without one; torn ones are counted."""
    page, facts = samples(case.golden.read_text("utf-8")), case.facts["efficiency"]
    unmeasured = facts["files"] - facts["unreadable"] - facts["with_numeric_cost"]

    assert page.get("loki_cost_usd") == (facts["sum_recorded_cost"] if facts["with_numeric_cost"] else None)
    assert page.get("loki_mode_tracked_cost_usd") == case.facts["tracking_total_cost_usd"]
    assert page['tallyship_exporter_records_unmeasured{source="loki-mode"}'] == unmeasured
    assert (
        page['tallyship_exporter_source_errors_total{reason="torn",source="loki-mode"}']
        >= facts["unreadable"]
    )


@every_case
def test_tasks_are_the_lengths_of_the_queues(case: Case) -> None:
    """loki_tasks_total are the queue files' lengths; an unreadable one is absent."""
    page = samples(case.golden.read_text("utf-8"))
    for name, length in (case.facts["queue_files"] or {}).items():
        series = f'loki_tasks_total{{status="{name.replace("-", "_")}"}}'
        if case.name == "skill-session" and name == "pending":
            # The script counted the keys of the object form; by hand, its list `tasks` holds two.
            assert (length, page[series]) == (1, 2)
            continue
        assert page.get(series) == (None if length == "unreadable" else length), series


@every_case
def test_session_runs_when_its_pid_lives(case: Case) -> None:
    """A live pid means running or paused, none means stopped; skill mode has no pid and says so itself."""
    status = samples(case.golden.read_text("utf-8"))["loki_session_status"]
    expected = {"paused": 2, "skill-session": 1}.get(case.name, int(case.facts["pid_alive"]))

    assert status == expected


@every_case
def test_only_an_unfinished_file_is_an_error(case: Case) -> None:
    """What the recorded runners wrote is read without an error, but for the two cases of torn files."""
    page = samples(case.golden.read_text("utf-8"))
    errors = {series: n for series, n in page.items() if "source_errors_total" in series and n}
    torn = {"torn-state": 2, "truncated-files": 6}.get(case.name)

    expected = {'tallyship_exporter_source_errors_total{reason="torn",source="loki-mode"}': torn}
    assert errors == (expected if torn else {})


@every_case
def test_every_difference_from_upstream_has_a_reason(case: Case) -> None:
    """No line differs from upstream's unexplained, and no reason is kept whose difference is gone."""
    _, keys = reasons()
    found = {difference.series for difference in number_differences(case)}

    assert found == set(keys.get(case.name, {}))
    assert not list(unexplained_lines(case))


def test_differences_are_documented(*, update_goldens: bool) -> None:
    """docs/differences.md is what the goldens, upstream's texts and the reasons come to now."""
    if update_goldens:
        DOCUMENT.write_text(document(), "utf-8")

    assert DOCUMENT.read_text("utf-8") == document()
    assert "unexplained" not in document()


def test_every_reason_is_used() -> None:
    """Each reason explains something, and each difference names a reason that there is."""
    sentences, keys = reasons()
    used = {key for by_series in keys.values() for key in by_series.values()}

    assert used == set(sentences)
    assert set(keys) <= {case.name for case in CASES}


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return the path of promtool; without one, skip, or fail where integration is required."""
    found = shutil.which("promtool")
    if found is None and PROMTOOL.exists():
        answer = subprocess.run([PROMTOOL], capture_output=True, text=True, timeout=30, check=False)
        found = answer.stdout.strip() or None
    if found is None:
        message = "no promtool: integration/images/make builds one"
        if os.environ.get("TALLYSHIP_REQUIRE_INTEGRATION"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@every_case
def test_promtool_finds_nothing_but_the_documented_gauges(case: Case, promtool: str) -> None:
    """`promtool check metrics` has nothing to say but that two documented gauges end in `_total`."""
    allowed = {
        f'{name} non-counter metrics should not have "_total" suffix'
        for name in ("loki_tasks_total", "loki_agents_total")
    }
    answer = subprocess.run(
        [promtool, "check", "metrics"],
        input=case.golden.read_bytes(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    said = {line for line in (answer.stdout + answer.stderr).decode().splitlines() if line}

    assert said <= allowed
    assert answer.returncode in {0, 3}


def test_the_nine_metrics_have_upstreams_names_and_types() -> None:
    """Names, types and labels of the nine are upstream's, so that dashboards and alerts work unchanged."""
    running = next(case for case in CASES if case.name == "running")
    ours = running.golden.read_text("utf-8").splitlines()
    upstream = [line for line in running.upstream_text.splitlines() if line.startswith("# TYPE")]

    assert [line.split()[2] for line in upstream if line in ours] == [line.split()[2] for line in upstream]
    assert set(NINE) == {line.split()[2] for line in upstream}
    assert set(samples(running.upstream_text)) <= set(samples("\n".join(ours)))
