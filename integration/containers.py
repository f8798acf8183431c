"""Real Prometheus and real Loki in containers, as plain values with a URL.

Everything a test needs is in the two factories `start_prometheus` and `start_loki`; the fixtures in
conftest.py only call them and see to it that nothing is left running.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pathlib
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

# The reaper of testcontainers is an image of its own, which a machine without a registry does not have. The
# fixtures remove what they started, also after a failure.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")

import docker  # type: ignore[import-untyped]
import requests
from testcontainers.core.container import DockerContainer

IMAGES = pathlib.Path(__file__).parent / "images"
PROMETHEUS_IMAGE = "prom/prometheus:v3.12.0"
LOKI_IMAGE = "grafana/loki:3.7.8"

T = TypeVar("T")

HOST = "host.docker.internal"
"""The name under which a container reaches a listener of this host (see `bridge_address`)."""

SMALL_LIMITS: Mapping[str, Any] = {
    "ingestion_rate_mb": 0.05,
    "ingestion_burst_size_mb": 0.1,
    "per_stream_rate_limit": "16KB",
    "per_stream_rate_limit_burst": "32KB",
    "max_line_size": "1KB",
    "max_label_names_per_series": 5,
    "max_streams_per_user": 5,
    "max_global_streams_per_user": 5,
    "reject_old_samples": True,
    "reject_old_samples_max_age": "1h",
}
"""Loki's `limits_config`, so small that a test runs into each of them within a second."""


def eventually(probe: Callable[[], T | None], *, within_s: float, what: str) -> T:
    """Return the first true value of `probe`; a refused connection counts as none yet."""
    deadline = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            value = probe()
        except requests.RequestException as error:
            last = error
        else:
            if value:
                return value
            last = value
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {within_s} s; last seen: {last!r}")


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def bridge_address() -> str:
    """Return the address on which containers reach a listener of this host, and few others do."""
    with contextlib.closing(docker.from_env()) as client:
        ipam = client.networks.get("bridge").attrs["IPAM"]["Config"]
    for gateway in (entry.get("Gateway") for entry in ipam):
        if gateway:
            with socket.socket() as probe:
                try:
                    probe.bind((gateway, 0))
                except OSError:
                    continue
                return str(gateway)
    return "0.0.0.0"  # noqa: S104 - an engine in a virtual machine has its bridge elsewhere


@dataclass
class Prometheus:
    """A running Prometheus."""

    url: str
    container: DockerContainer

    def query(self, expr: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query: a list of `{metric: {...}, value: [time, text]}`."""
        params = {"query": expr} if at is None else {"query": expr, "time": str(at)}
        answer = requests.get(f"{self.url}/api/v1/query", params=params, timeout=10)
        body = answer.json()
        assert body["status"] == "success", f"{expr}: {body}"
        result: list[dict[str, Any]] = body["data"]["result"]
        return result

    def targets(self) -> list[dict[str, Any]]:
        """Return the active targets with `health`, `lastError` and `scrapeUrl`."""
        answer = requests.get(f"{self.url}/api/v1/targets", params={"state": "active"}, timeout=10)
        active: list[dict[str, Any]] = answer.json()["data"]["activeTargets"]
        return active

    def promtool(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Run the promtool of the same release; return its exit code and what it printed."""
        done = subprocess.run(
            ["docker", "exec", "-i", self.container.get_container_id(), "/bin/promtool", *arguments],
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout.decode(errors="replace")


@dataclass
class Loki:
    """A running Loki, which can be stopped and started again with its data and under the same URL."""

    url: str
    container: DockerContainer

    @property
    def push_url(self) -> str:
        """The address of the push API."""
        return f"{self.url}/loki/api/v1/push"

    def stop(self, *, grace_s: int = 10) -> None:
        """End the process (SIGTERM, after `grace_s` SIGKILL; 0 kills at once) and keep its disk."""
        self.container.get_wrapped_container().stop(timeout=grace_s)

    def start(self) -> None:
        """Start the stopped Loki again on the same disk, and wait until it listens."""
        self.container.get_wrapped_container().start()
        self.wait_listening()

    def wait_listening(self) -> None:
        """Wait until something answers: Loki takes pushes long before it calls itself ready."""
        eventually(
            lambda: requests.get(f"{self.url}/ready", timeout=5).status_code, within_s=60, what="Loki listens"
        )

    def wait_ready(self) -> None:
        """Wait until Loki says that it is ready, about 16 s after its start."""
        eventually(
            lambda: requests.get(f"{self.url}/ready", timeout=5).status_code == requests.codes.ok,
            within_s=90,
            what="Loki is ready",
        )

    def query(self, logql: str, *, start_ns: int, end_ns: int, limit: int = 5000) -> list[dict[str, Any]]:
        """Return the streams of a range query, oldest first: `{stream: {...}, values: [[ns, line], ...]}`."""
        answer = requests.get(
            f"{self.url}/loki/api/v1/query_range",
            params={
                "query": logql,
                "start": str(start_ns),
                "end": str(end_ns),
                "limit": str(limit),
                "direction": "forward",
            },
            timeout=30,
        )
        assert answer.status_code == requests.codes.ok, f"{logql}: {answer.status_code} {answer.text}"
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result


def start_prometheus(
    config: str, *, files: Mapping[str, str] | None = None, command: tuple[str, ...] = ()
) -> Prometheus:
    """Start Prometheus with the text of a prometheus.yml and, beside it, `files` (rules, passwords) by name.

    `command` adds flags to the usual ones. Returns when the API answers; the caller stops `container`.
    """
    container = (
        DockerContainer(PROMETHEUS_IMAGE, extra_hosts={HOST: "host-gateway"})
        .with_exposed_ports(9090)
        .with_command(
            ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus", *command]
        )
    )
    for name, text in {"prometheus.yml": config, **(files or {})}.items():
        container.with_copy_into_container(text.encode(), f"/etc/prometheus/{name}", 0o644)
    url = _started(container, 9090)
    prometheus = Prometheus(url, container)
    _eventually_or_logs(
        container, lambda: requests.get(f"{url}/-/ready", timeout=5).status_code == requests.codes.ok, "ready"
    )
    return prometheus


def start_loki(*, limits: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None) -> Loki:
    """Start Loki as one process with its default limits, with `limits` laid over `limits_config`.

    `config` is laid over the whole configuration, section by section. The port on this host is a fixed one,
    because an engine would give out another one at each start. Returns when it listens; the caller stops
    `container`.
    """
    merged = json.loads((IMAGES / "loki" / "local-config.json").read_text())
    merged = _merged(merged, {"limits_config": dict(limits or {})} if limits else {})
    merged = _merged(merged, config or {})
    container = (
        DockerContainer(LOKI_IMAGE)
        .with_bind_ports(3100, free_port())
        .with_copy_into_container(json.dumps(merged, indent=2).encode(), "/etc/loki/local-config.yaml", 0o644)
    )
    loki = Loki(_started(container, 3100), container)
    _eventually_or_logs(
        container, lambda: requests.get(f"{loki.url}/ready", timeout=5).status_code, "listening"
    )
    return loki


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def _started(container: DockerContainer, port: int) -> str:
    try:
        container.start()
        return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(port)}"
    except BaseException:
        container.stop()
        raise


def _eventually_or_logs(container: DockerContainer, probe: Callable[[], Any], what: str) -> None:
    """Wait for `probe`; a container that does not get so far is removed, its last words are in the error."""
    try:
        eventually(probe, within_s=60, what=f"{container.image} {what}")
    except BaseException as error:
        out, err = container.get_logs()
        error.add_note((out + err).decode(errors="replace")[-4000:])
        container.stop()
        raise
