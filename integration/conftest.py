"""Fixtures on real containers, and the rule on what happens where no Docker engine answers."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import docker  # type: ignore[import-untyped]
import docker.errors  # type: ignore[import-untyped]
import pytest
import requests

from integration import chromium, containers
from integration.containers import Loki, Prometheus
from integration.shipping import Shipper

# A booted systemd in a privileged container takes minutes: asked for by name, not left out.
collect_ignore = [] if os.environ.get("TALLYSHIP_BOOT") == "1" else ["test_deploy_boot.py"]

REQUIRED = os.environ.get("TALLYSHIP_REQUIRE_INTEGRATION") == "1"
HERE = pathlib.Path(__file__).parent


IMAGE_OF_FIXTURE = {"prometheus": containers.PROMETHEUS_IMAGE, "loki": containers.LOKI_IMAGE}


@functools.cache
def missing(image: str | None = None) -> str | None:
    """Say in one line what this machine lacks for tests on `image` (None: on any), or None."""
    try:
        with contextlib.closing(docker.from_env()) as client:
            client.ping()
            if image:
                client.images.get(image)
    except docker.errors.ImageNotFound:
        return f"the Docker engine has no image {image} (integration/images/make gets it)"
    except docker.errors.DockerException as error:
        reason = f"no Docker engine answers ({str(error).splitlines()[0][:120]})"
    else:
        return None
    with warnings.catch_warnings():
        # docker-py forgets a socket when nobody answers; it is found here and not in the middle of a test.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    return reason


def missing_for(item: pytest.Item) -> str | None:
    """Say what this machine lacks for this test, or None."""
    used = {name.removeprefix("module_") for name in getattr(item, "fixturenames", ())}
    if "chromium" in used:
        return None if chromium.find() else "there is no Chromium (Debian's package chromium)"
    wanted = [image for name, image in IMAGE_OF_FIXTURE.items() if name in used]
    return missing() or next(filter(None, map(missing, wanted)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what stands in this folder, and leave it out where it cannot run and need not."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.integration)
            if not REQUIRED and (lack := missing_for(item)):
                item.add_marker(pytest.mark.skip(reason=lack))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail with the same words where integration tests are required."""
    if REQUIRED and item.path.is_relative_to(HERE) and (lack := missing_for(item)):
        pytest.fail(f"TALLYSHIP_REQUIRE_INTEGRATION=1, but {lack}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped integration test into a failure where they are required."""
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail") and item.path.is_relative_to(HERE):
        report.outcome = "failed"
        report.longrepr = f"skipped, though TALLYSHIP_REQUIRE_INTEGRATION=1: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many were left out, in one line that nobody overlooks."""
    left_out = [r for r in terminalreporter.stats.get("skipped", []) if r.nodeid.startswith(f"{HERE.name}/")]
    if left_out:
        reason = left_out[0].longrepr[-1].removeprefix("Skipped: ")
        terminalreporter.write_line(f"{len(left_out)} integration tests were left out: {reason}", yellow=True)


def _prometheus() -> Iterator[Callable[..., Prometheus]]:
    """Return `containers.start_prometheus`; what it starts is removed afterwards."""
    with contextlib.ExitStack() as stack:

        def start(*args: Any, **kwargs: Any) -> Prometheus:
            started = containers.start_prometheus(*args, **kwargs)
            stack.callback(started.container.stop)
            return started

        yield start


def _loki() -> Iterator[Callable[..., Loki]]:
    """Return `containers.start_loki`; what it starts is removed afterwards."""
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


def _exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Return a function that runs `tallyship-exporter serve ARGUMENTS` until all is over."""
    tmp_path = tmp_path_factory.mktemp("exporter")
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


# Each for one test, and once more for a module whose tests share what is slow to start.
prometheus = pytest.fixture(_prometheus)
module_prometheus = pytest.fixture(_prometheus, scope="module")
loki = pytest.fixture(_loki)
module_loki = pytest.fixture(_loki, scope="module")
exporter = pytest.fixture(_exporter)
module_exporter = pytest.fixture(_exporter, scope="module")


@pytest.fixture
def shipper_on(tmp_path: pathlib.Path) -> Iterator[Callable[..., Shipper]]:
    """Return a function that makes a shipper: `shipper_on(url, ["KIND=PATH"], "--option", "value")`."""
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((tmp_path / "shipper.log").open("wb"))

        def make(url: str, sources: list[str], *options: str) -> Shipper:
            shipper = Shipper(url, sources, tmp_path / "state", log, list(options))
            stack.callback(shipper.end)
            return shipper

        yield make


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
