from __future__ import annotations

from shipper.telling import exposition
from shipper.telling.metrics import Metrics


def told(metrics: Metrics) -> dict[str, float]:
    """Return the samples of the page, without those that say since when something is counted."""
    lines = exposition.page(metrics).decode().splitlines()
    samples = (line.removeprefix("tallyship_shipper_").rpartition(" ") for line in lines if line[0] != "#")
    return {name: float(value) for name, _, value in samples if "_created" not in name}


def test_a_page_has_every_number_from_the_start() -> None:
    """At 0, with the labels that are known; what comes later has its own."""
    metrics = Metrics()
    fresh = told(metrics)
    metrics.add("redactions", 2, "own_rule")
    metrics.add("push_bytes", 5)
    metrics.add("push_bytes", 0.5)

    assert fresh['dead_lettered_total{reason="invalid"}'] == fresh["files"] == 0
    assert fresh["config_last_reload_successful"] == 1
    assert fresh["process_open_fds"] > 0
    assert told(metrics)['redactions_total{rule="own_rule"}'] == 2
    assert told(metrics)["push_bytes_total"] == 5.5
    assert metrics.counts("redactions") == {"own_rule": 2}


def test_what_is_told_is_counted_where_it_has_a_counter() -> None:
    """Lost bytes by their reason; a file that is refused and one that cannot be read are one kind."""
    metrics = Metrics()
    metrics.told("lost", {"lost_bytes": 7, "reason": "deleted", "path": "/a"})
    for event in ("refused_file", "unreadable_file", "inotify_overflow", "missed_file", "found"):
        metrics.told(event, {"path": "/a"})
    page = told(metrics)

    assert page['lost_bytes_total{reason="deleted"}'] == 7
    assert page["refused_files_total"] == 2
    assert page["inotify_overflows_total"] == page["missed_files_total"] == 1


def test_what_is_dead_lettered_is_dropped() -> None:
    """For whatever reason."""
    metrics = Metrics()
    metrics.add("dead_lettered", 3, "invalid")
    metrics.add("dead_lettered", 1, "labels")

    assert told(metrics)["entries_dropped_total"] == 4


def test_pushes_are_counted_in_every_bound_that_they_keep() -> None:
    """A push of exactly a bound keeps it."""
    metrics = Metrics()
    for seconds in (0.005, 0.3, 99.0):
        metrics.observe_push(seconds)
    page = told(metrics)

    assert [
        page[f'push_duration_seconds_bucket{{le="{bound}"}}'] for bound in ("0.005", "0.25", "0.5", "30.0")
    ] == [1, 1, 2, 2]
    assert page['push_duration_seconds_bucket{le="+Inf"}'] == page["push_duration_seconds_count"] == 3
    assert page["push_duration_seconds_sum"] == 99.305


def test_what_others_count_never_goes_back_nor_counts_twice() -> None:
    """However many scrapes ask."""
    metrics = Metrics()
    for rescans, truncations in ((2, 1), (2, 1), (1, 1)):
        metrics.follow(rescans, truncations)

    assert (told(metrics)["rescans_total"], told(metrics)["truncations_total"]) == (2, 1)


def test_a_source_that_is_gone_has_no_lag() -> None:
    """Its last numbers would stay for ever."""
    metrics = Metrics()
    metrics.lag({"a": {"files": 1, "bytes": 3, "seconds": 1.5}, "b": {"files": 0, "bytes": 0, "seconds": 0}})
    metrics.lag({"a": {"files": 1, "bytes": 4, "seconds": 2.5}})
    lag = {name: value for name, value in told(metrics).items() if name.startswith("lag_")}

    assert lag == {'lag_bytes{source="a"}': 4, 'lag_seconds{source="a"}': 2.5}
