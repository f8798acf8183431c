"""`deploy/loki/local-config.yaml` on the real Loki: its comments are true."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml
from testcontainers.core.container import DockerContainer

from integration import deploy_loki
from integration.containers import LOKI_IMAGE, Loki

MIB = 1 << 20
HOUR_NS = 3600 * 10**9
TEXT = deploy_loki.CONFIG.read_text("utf-8")

pytestmark = pytest.mark.usefixtures("loki")


@pytest.fixture(scope="module")
def server() -> Iterator[Loki]:
    """Give a Loki with the file as it is."""
    started = deploy_loki.start()
    yield started
    started.container.stop()


def verified(config: str) -> tuple[int, str]:
    """Return exit code and output of `loki -verify-config` on this text."""
    path = deploy_loki.CONFIG_IN_IMAGE
    container = (
        DockerContainer(LOKI_IMAGE)
        .with_copy_into_container(config.encode(), path, 0o644)
        .with_command(f"-config.file={path} -verify-config")
    )
    with container:
        code = container.get_wrapped_container().wait(timeout=60)["StatusCode"]
        out, err = container.get_logs()
        return int(code), (out + err).decode(errors="replace")


def push(loki: Loki, lines: list[str], ns: int, **labels: str) -> requests.Response:
    """Push lines from `ns` on, a nanosecond apart, with `session_id` as structured metadata."""
    values = [[str(ns + number), line, {"session_id": "s"}] for number, line in enumerate(lines)]
    body = {"streams": [{"stream": {"app": "llm-proxy", **labels}, "values": values}]}
    return requests.post(loki.push_url, json=body, timeout=30)


def running(loki: Loki) -> dict[str, Any]:
    """Return the configuration as Loki has understood it."""
    found: dict[str, Any] = yaml.safe_load(requests.get(f"{loki.url}/config", timeout=10).text)
    return found


def unlike(given: Any, whole: Any, path: str = "") -> Iterator[str]:
    """Yield what of `given` is not so in `whole`; what only `whole` has is Loki's default."""
    if isinstance(given, dict) and isinstance(whole, dict):
        for key, value in given.items():
            yield from unlike(value, whole.get(key), f"{path}/{key}")
    elif isinstance(given, list) and isinstance(whole, list) and len(given) == len(whole):
        for number, (one, other) in enumerate(zip(given, whole, strict=True)):
            yield from unlike(one, other, f"{path}/{number}")
    elif given != whole and (seconds(given) is None or seconds(given) != seconds(whole)):
        yield f"{path}: {given} is {whole}"


def seconds(duration: object) -> int | None:
    """Return how long "2h0m0s", "1w" or "31d" is, None for what is no duration."""
    if not isinstance(duration, str) or not re.fullmatch(r"(\d+[wdhms])+", duration):
        return None
    size = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * size[unit] for number, unit in re.findall(r"(\d+)(\w)", duration))


def test_loki_finds_no_fault_in_the_file() -> None:
    """`-verify-config`, as its head says."""
    assert verified(TEXT) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("retention_enabled: true", "retention_enabledd: true"),
        ("delete_request_store: filesystem", "delete_request_store: ''"),
        ("max_line_size: 256KB", "max_line_size: many"),
    ],
)
def test_the_verification_notices_a_fault(right: str, wrong: str) -> None:
    """A misspelt key, retention without its store, a size that is none: the test above can fail."""
    assert right in TEXT

    code, printed = verified(TEXT.replace(right, wrong))

    assert code != 0, printed


def test_every_value_of_the_file_is_the_one_that_loki_runs_with(server: Loki) -> None:
    """Nothing is ignored or changed, but the address to listen on, which a flag gives here."""
    given = yaml.safe_load(TEXT)
    given["server"]["http_listen_address"] = "0.0.0.0"  # noqa: S104 - in a container
    # Shown as a number of nanoseconds and as nothing, because it is Loki's `omitempty`.
    assert given["ingester"].pop("query_store_max_look_back_period") == -1
    assert given.pop("auth_enabled") is False

    assert "\n".join(unlike(given, running(server))) == ""


def test_what_the_shipper_counts_on_is_so(server: Loki) -> None:
    """Repeats are recognised: no shards, and lines up to an hour behind their stream's newest are taken."""
    found, now_ns = running(server), time.time_ns()

    assert found["limits_config"]["shard_streams"]["enabled"] is False
    assert found["limits_config"]["unordered_writes"] is True
    assert push(server, ["new"], now_ns, log_type="order").status_code == requests.codes.no_content
    assert push(server, ["old"], now_ns - HOUR_NS * 9 // 10, log_type="order").ok
    assert "too far behind" in push(server, ["older"], now_ns - 2 * HOUR_NS, log_type="order").text


def test_a_backlog_is_shown_at_once(server: Loki) -> None:
    """Lines of two days ago that Loki has just taken are found: it always asks the part that has them."""
    ns = time.time_ns() - 48 * HOUR_NS

    assert push(server, ["backlog"], ns, log_type="backlog").ok

    assert shown(server, ns) == [str(ns)]
    assert "backlog" in log_types(server, ns)
    assert requests.post(f"{server.url}/flush", timeout=30).ok
    assert shown(server, ns) == [str(ns)]
    assert "backlog" in log_types(server, ns)


def shown(loki: Loki, ns: int) -> list[str]:
    """Return the times of the backlog's lines that a query finds."""
    found = loki.query('{log_type="backlog"}', start_ns=ns - HOUR_NS, end_ns=ns + HOUR_NS)
    return [at for stream in found for at, _ in stream["values"]]


def log_types(loki: Loki, ns: int) -> list[str]:
    """Return what Grafana offers as values of `log_type`."""
    params = {"start": str(ns - HOUR_NS), "end": str(ns + HOUR_NS), "query": '{app="llm-proxy"}'}
    answer = requests.get(f"{loki.url}/loki/api/v1/label/log_type/values", params=params, timeout=10)
    found: list[str] = answer.json().get("data", [])
    return found


def test_a_line_of_256_kib_is_taken_and_a_longer_one_is_refused(server: Loki) -> None:
    """The limit is the shipper's, to the byte."""
    now_ns = time.time_ns()

    assert push(server, ["x" * 262_144], now_ns, log_type="long").status_code == requests.codes.no_content
    refused = push(server, ["x" * 262_145], now_ns + 10, log_type="long")

    assert refused.status_code == requests.codes.bad_request
    assert "262144" in refused.text


def test_an_answer_of_twenty_megabytes_is_given(server: Loki) -> None:
    """A session with long bodies is one query; with Loki's own limit of 4 MiB it is an error 500."""
    now_ns = time.time_ns()
    for start in range(0, 100, 10):
        lines = [f"{number} {'p' * 200_000}" for number in range(start, start + 10)]
        # In two streams: one may have 15 MB at once, then 3 MB a second.
        assert push(server, lines, now_ns + start, log_type="much", provider=str(start < 50)).ok

    found = server.query('{log_type="much"} | session_id="s"', start_ns=now_ns, end_ns=now_ns + HOUR_NS)

    lines = [line for stream in found for _, line in stream["values"]]
    assert sum(map(len, lines)) > 19 * MIB
    assert sorted(int(line.split()[0]) for line in lines) == list(range(100))


def test_a_count_by_session_is_answered_for_thousands_of_them(server: Loki) -> None:
    """As the dashboard asks it; with Loki's own 500 series it is an error."""
    now_ns = time.time_ns()
    values = [[str(now_ns + n), "x", {"session_id": f"s{n}"}] for n in range(3000)]
    body = {"streams": [{"stream": {"app": "llm-proxy", "log_type": "many"}, "values": values}]}
    assert requests.post(server.push_url, json=body, timeout=30).ok

    query = 'topk(15, sum by (session_id) (count_over_time({log_type="many"} | session_id!="" [1h])))'
    answer = requests.get(
        f"{server.url}/loki/api/v1/query",
        params={"query": query, "time": str(now_ns + 10**9)},
        timeout=30,
    )

    assert answer.status_code == requests.codes.ok, answer.text
    assert len(answer.json()["data"]["result"]) == 15


def test_the_retention_is_on_and_one_session_can_be_deleted(server: Loki) -> None:
    """The compactor takes a request to delete a session, which it refuses where there is no retention."""
    found = running(server)
    deleted = requests.post(
        f"{server.url}/loki/api/v1/delete",
        params={"query": '{app="llm-proxy"} | session_id="nobody"', "start": "2024-01-01T00:00:00Z"},
        timeout=10,
    )

    assert found["compactor"]["retention_enabled"] is True
    assert seconds(found["limits_config"]["retention_period"]) == 31 * 86_400
    assert deleted.status_code == requests.codes.no_content, deleted.text
