"""Fixtures on real containers, and the rule on what happens where no Docker engine answers."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]
import pytest
import requests

from integration import containers
from integration.containers import Loki, Prometheus

REQUIRED = os.environ.get("TALLYSHIP_REQUIRE_INTEGRATION") == "1"
HERE = pathlib.Path(__file__).parent


@functools.cache
def missing() -> str | None:
    """Say in one line what the integration tests lack on this machine, or None."""
    try:
        with docker.from_env() as client:
            client.ping()
            for image in (containers.PROMETHEUS_IMAGE, containers.LOKI_IMAGE):
                try:
                    client.images.get(image)
                except docker.errors.ImageNotFound:
                    return f"the Docker engine has no image {image} (integration/images/make gets it)"
    except docker.errors.DockerException as error:
        return f"no Docker engine answers ({str(error).splitlines()[0][:120]})"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in this folder, and leave it out where it cannot run and need not."""
    own = [item for item in items if item.path.is_relative_to(HERE)]
    for item in own:
        item.add_marker(pytest.mark.integration)
    if not own or REQUIRED or (lack := missing()) is None:
        return
    for item in own:
        item.add_marker(pytest.mark.skip(reason=lack))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped integration test into a failure where they are required."""
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail") and item.path.is_relative_to(HERE):
        report.outcome = "failed"
        report.longrepr = f"skipped, though TALLYSHIP_REQUIRE_INTEGRATION=1: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many were left out, and why, in one line that nobody overlooks."""
    left_out = [r for r in terminalreporter.stats.get("skipped", []) if r.nodeid.startswith(f"{HERE.name}/")]
    if left_out and (lack := missing()):
        terminalreporter.write_line(f"{len(left_out)} integration tests left out: {lack}", yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    if lack := missing():
        pytest.fail(f"TALLYSHIP_REQUIRE_INTEGRATION=1, but {lack}")


@pytest.fixture
def prometheus() -> Iterator[Callable[..., Prometheus]]:
    """Return `containers.start_prometheus`; what it starts is removed after the test."""
    with contextlib.ExitStack() as stack:

        def start(*args: Any, **kwargs: Any) -> Prometheus:
            started = containers.start_prometheus(*args, **kwargs)
            stack.callback(started.container.stop)
            return started

        yield start


@pytest.fixture
def loki() -> Iterator[Callable[..., Loki]]:
    """Return `containers.start_loki`; what it starts is removed after the test."""
    with contextlib.ExitStack() as stack:

        def start(**kwargs: Any) -> Loki:
            started = containers.start_loki(**kwargs)
            stack.callback(started.container.stop)
            return started

        yield start


@dataclass(frozen=True)
class Served:
    """A `tallyship-exporter serve` that containers can reach."""

    url: str
    """For this host, ends without a slash."""
    target: str
    """HOST:PORT for a prometheus.yml."""
    process: subprocess.Popen[bytes]


@pytest.fixture
def exporter(tmp_path: pathlib.Path) -> Iterator[Callable[..., Served]]:
    """Return a function that runs `tallyship-exporter serve ARGUMENTS` until the test is over."""
    with contextlib.ExitStack() as stack:

        def serve(*arguments: str, env: dict[str, str] | None = None) -> Served:
            host, port = containers.bridge_address(), containers.free_port()
            log = stack.enter_context((tmp_path / f"exporter-{port}.log").open("wb+"))
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "exporter",
                    "serve",
                    "--web.listen-address",
                    f"{host}:{port}",
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
            )
            stack.callback(_end, process)
            url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - compared, not bound
            try:
                containers.eventually(lambda: _ready(process, url), within_s=15, what="the exporter is ready")
            except BaseException as error:
                log.seek(0)
                error.add_note(log.read().decode(errors="replace")[-4000:])
                raise
            return Served(url, f"{containers.HOST}:{port}", process)

        yield serve


def _ready(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, f"the exporter ended with {process.returncode}"
    return requests.get(f"{url}/-/ready", timeout=5).ok


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
