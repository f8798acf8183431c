"""The Prometheus that the other tests rely on is one, whether it was pulled or made here."""

from __future__ import annotations

from collections.abc import Callable

from integration.containers import Prometheus, eventually

SCRAPES_ITSELF = """
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: prometheus
    static_configs: [{targets: ["localhost:9090"]}]
"""


def test_a_prometheus_container_scrapes_itself_and_answers_queries(
    prometheus: Callable[..., Prometheus],
) -> None:
    """A configuration given as text is the one it runs on, and the build is the release we name."""
    server = prometheus(SCRAPES_ITSELF)

    (up,) = eventually(lambda: server.query('up{job="prometheus"}'), within_s=30, what="a first scrape")
    (build,) = server.query("prometheus_build_info")

    assert up["value"][1] == "1"
    assert build["metric"]["version"] == "3.12.0"


def test_rule_files_beside_the_configuration_are_loaded_and_evaluated(
    prometheus: Callable[..., Prometheus],
) -> None:
    """A rule file given by name is found by that name, so shipped alerts can be tested on the real thing."""
    rules = 'groups: [{name: g, interval: 1s, rules: [{record: "answer", expr: "vector(42)"}]}]'

    server = prometheus("rule_files: [rules.yml]", files={"rules.yml": rules})

    (answer,) = eventually(lambda: server.query("answer"), within_s=30, what="an evaluated rule")
    assert answer["value"][1] == "42"


def test_the_promtool_beside_it_passes_a_clean_page_and_names_a_fault(
    prometheus: Callable[..., Prometheus],
) -> None:
    """`promtool check metrics` works, and can fail."""
    server = prometheus("global: {}")

    clean = server.promtool("check", "metrics", stdin="# HELP a_bytes A.\n# TYPE a_bytes gauge\na_bytes 1\n")
    faulty = server.promtool("check", "metrics", stdin="# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n")

    assert clean == (0, "")
    assert faulty[0] != 0
    assert 'a_total non-counter metrics should not have "_total" suffix' in faulty[1]
