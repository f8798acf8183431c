from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy"
DOCKERFILE = (FOLDER / "container/Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "container/docker-compose.yml").read_text("utf-8"))
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))
NEWEST = "1.35"
PACKAGES = ("exporter", "shipper", "shared")
INSTALLED = os.environ.get("TALLYSHIP_INSTALLED") == "1"
FLUSH_S = 30


def containers(manifest: Path) -> Iterator[dict[str, Any]]:
    """Yield the containers that run one of our programs."""
    spec = yaml.safe_load(manifest.read_text("utf-8"))["spec"]["template"]["spec"]
    for one in itertools.chain(spec.get("initContainers", ()), spec["containers"]):
        if one["image"] == "tallyship:local":
            yield one


def program(container: dict[str, Any]) -> str:
    """Return which of the two it is; without a command the image's entry point is the shipper."""
    return "exporter" if container.get("command") == ["tallyship-exporter"] else "shipper"


def help_of(name: str) -> str:
    """Return the help of the command that a service runs."""
    command = "serve" if name == "exporter" else "run"
    done = subprocess.run(
        [sys.executable, "-m", name, command, "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


def unknown(tools_python: str, text: str) -> str:
    """Return what Kubernetes' schemas do not know in these manifests."""
    done = subprocess.run(
        [tools_python, Path(__file__).parent / "kubernetes_schema.py", NEWEST],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_the_manifest_is_made_of_what_kubernetes_knows(tools_python: str, manifest: Path) -> None:
    """Checked against the schemas of the API, where no unknown key passes."""
    assert unknown(tools_python, manifest.read_text("utf-8")) == ""


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("right", ["readOnly: ", "livenessProbe:", "runAsUser: "])
def test_the_schema_check_notices_a_misspelt_key(tools_python: str, manifest: Path, right: str) -> None:
    """So the test above can fail."""
    wrong = right.replace(":", "s:")

    assert wrong.split(":")[0] in unknown(tools_python, manifest.read_text("utf-8").replace(right, wrong))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_every_option_of_a_pod_is_one_that_the_program_has(manifest: Path) -> None:
    """Command and flags, against the program's own help."""
    found = list(containers(manifest))

    assert found
    for one in found:
        text = help_of(program(one))
        assert one["args"][0] == ("serve" if program(one) == "exporter" else "run")
        assert [flag for flag in one["args"][1:] if flag.split("=")[0] not in text] == []


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_a_pod_gives_the_shipper_what_it_needs(manifest: Path) -> None:
    """State that survives it, files that it cannot write, and time to flush."""
    spec = yaml.safe_load(manifest.read_text("utf-8"))["spec"]
    pod = spec["template"]["spec"]
    lasting = {one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", ())}
    lasting |= {one["name"] for one in pod.get("volumes", ()) if "hostPath" in one}
    (shipper,) = (one for one in containers(manifest) if program(one) == "shipper")
    mounts = {one["mountPath"]: one for one in shipper["volumeMounts"]}

    assert pod["terminationGracePeriodSeconds"] > FLUSH_S
    assert mounts.pop("/var/lib/tallyship-shipper")["name"] in lasting
    assert mounts
    assert all(one["readOnly"] for one in mounts.values())
    for flag in shipper["args"]:
        if flag.startswith("--source="):
            assert any(flag.split("=", 2)[2].startswith(mount) for mount in mounts), flag


def test_the_files_that_compose_mounts_are_there() -> None:
    """Paths relative to the file; what is missing would be made as an empty folder by the engine."""
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / "container" / source).is_file(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"]


def test_compose_runs_the_loki_that_the_tests_run() -> None:
    """The version is the tested one, and so is its command."""
    versions = (ROOT / "integration/containers.py").read_text("utf-8")

    assert f'LOKI_IMAGE = "{COMPOSE["services"]["loki"]["image"]}"' in versions
    helper = (ROOT / "integration/deploy_loki.py").read_text("utf-8")
    assert COMPOSE["services"]["loki"]["command"].split()[1] in helper


def test_compose_publishes_ports_for_this_host_only() -> None:
    """Loki asks nobody for a password, and Grafana's is known at first."""
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]

    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_option_of_the_shipper_in_compose_is_one_that_it_has() -> None:
    """Against its own help; and it has more time to end than it takes."""
    shipper = COMPOSE["services"]["shipper"]
    text = help_of("shipper")

    assert shipper["command"][0] == "run"
    assert [flag for flag in shipper["command"][1:] if flag.split("=")[0] not in text] == []
    assert int(shipper["stop_grace_period"].removesuffix("s")) > FLUSH_S


def test_what_the_image_copies_is_there_and_passes_the_ignore_file() -> None:
    """Each COPY from the checkout names something that exists and that .dockerignore lets through."""
    ignore = (FOLDER / "container/Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    ]

    assert {*PACKAGES, "requirements.lock"} <= set(copied)
    for name in copied:
        # Where the installed wheel is tested the packages are out of the way: nothing can import them.
        assert (ROOT / name).exists() or (name in PACKAGES and INSTALLED), name
        assert f"!{name}" in ignore
