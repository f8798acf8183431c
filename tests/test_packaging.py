"""The distribution: what it installs, what it needs, and that its three plain package names are its own.

The same file is run on the checkout and, by .ci/run, on the built wheel in a clean environment
(TALLYSHIP_INSTALLED=1).
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pathlib
import sys
import sysconfig
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ["exporter", "shipper", "shared"]
WHEEL = os.environ.get("TALLYSHIP_INSTALLED") == "1"

only_wheel = pytest.mark.skipif(
    not WHEEL, reason="an editable install lists no files of its own; .ci/run sets this"
)


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_owns_one_of_our_package_names(name: str) -> None:
    """On a clash pip overwrites silently, so a dependency that ships `shared` must be noticed here."""
    owners = set(importlib.metadata.packages_distributions().get(name, []))

    assert owners <= {"tallyship"}


@only_wheel
@pytest.mark.parametrize("name", PACKAGES)
def test_the_wheel_owns_each_package_and_it_is_the_one_imported(name: str) -> None:
    """Exactly one owner, us, and the import comes from site-packages and not from a checkout."""
    site_packages = pathlib.Path(sysconfig.get_path("purelib")).resolve()
    origin = importlib.import_module(name).__file__

    assert importlib.metadata.packages_distributions()[name] == ["tallyship"]
    assert origin is not None
    assert pathlib.Path(origin).resolve().is_relative_to(site_packages)


@only_wheel
def test_the_wheel_puts_nothing_else_at_the_top_of_site_packages() -> None:
    """Tests, docs and examples stay out of an installation."""
    files = importlib.metadata.files("tallyship") or []
    top = {path.parts[0] for path in files if not path.parts[0].endswith(".dist-info")}

    # Console scripts are listed relative to site-packages.
    assert top - {".."} == set(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_tells_type_checkers_that_it_is_typed(name: str) -> None:
    """`py.typed` lies beside each `__init__.py`, in the wheel as in the checkout."""
    origin = importlib.import_module(name).__file__

    assert origin is not None
    assert pathlib.Path(origin).with_name("py.typed").is_file()


def test_each_console_script_leads_to_something_that_can_be_called() -> None:
    """A renamed `main` would only be found by the first user otherwise."""
    scripts = importlib.metadata.distribution("tallyship").entry_points.select(group="console_scripts")
    called = {script.name: script.load() for script in scripts}

    assert set(called) == {"tallyship-exporter", "tallyship-shipper"}
    assert all(callable(main) for main in called.values())


def requirements(extra: str | None) -> dict[str, Requirement]:
    """Return what pyproject.toml asks for, by canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock file by canonical name."""
    lines = (line for line in (ROOT / name).read_text().splitlines() if line[:1].isalnum())
    pairs = (line.rstrip(" \\").partition(";")[0].strip().split("==") for line in lines)
    return {canonicalize_name(package): version for package, version in pairs}


@pytest.mark.parametrize(("lock", "extra"), [("requirements.lock", None), ("requirements-dev.lock", "dev")])
def test_the_lock_files_satisfy_pyproject(lock: str, extra: str | None) -> None:
    """A dependency that was added or raised without `make lock` is named."""
    versions = locked(lock)
    stale = [
        str(r) for name, r in requirements(extra).items() if not r.specifier.contains(versions.get(name, "0"))
    ]

    assert stale == []


def test_both_lock_files_agree_on_every_version() -> None:
    """What is tested is what runs: the runtime lock is part of the development one."""
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()


def test_the_running_environment_is_the_locked_one() -> None:
    """A test run speaks for the lock, so each locked runtime package has the locked version here."""
    other = {}
    for name, version in locked("requirements.lock").items():
        try:
            present = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # left out by its marker on this machine
        if present != version:
            other[name] = present

    assert other == {}


def test_this_python_is_one_the_metadata_allows() -> None:
    """The version in pyproject.toml and the one that tests run on do not drift apart."""
    allowed = Requirement(f"python{importlib.metadata.metadata('tallyship')['Requires-Python']}")

    assert allowed.specifier.contains(".".join(map(str, sys.version_info[:3])))
