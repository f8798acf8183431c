"""Mutation testing: small bugs are planted in the rules by which no line is lost, and counted when seen.

`make mutants`; it works in a copy, takes some minutes, and fails when more than a tenth of a file's bugs are
not seen. docs/mutation.md judges those.
"""

from __future__ import annotations

import ast
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("shipper", "shared", "tests", "bench")
ENOUGH = 0.9
LIMIT_S = 3600
LIMIT_BYTES = 3 << 30
"""A planted bug may collect without end."""
KILLED, SURVIVED, UNTESTED, TIMED_OUT = "killed", "survived", "untested", "timed out"
_OUTCOMES = {1: KILLED, 3: KILLED, 5: UNTESTED, 33: UNTESTED} | dict.fromkeys((-24, 24, 36, 152), TIMED_OUT)
"""What mutmut notes for a mutant; anything else counts as not seen."""
_PROFILE = """
from hypothesis import Phase, settings

settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, database=None)
settings.load_profile("mutants")
"""
"""The same examples at each run; the first that fails is enough, it need not be the simplest."""


def main() -> int:
    """Run it; 1 where a file is below the bar."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]["only_mutate"]
    with tempfile.TemporaryDirectory(prefix="tallyship-mutants-") as name:
        copy = pathlib.Path(name)
        _copied(copy)
        for file in files:
            path = copy / file
            path.write_text(with_plain_properties(path.read_text()))
        with (copy / "log").open("wb") as log:
            # mutmut draws a spinner; it goes into a file. One at a time: more only time each other out.
            ended = subprocess.run(
                [sys.executable, "-m", "mutmut", "run", "--max-children", "1"],
                cwd=copy,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=LIMIT_S,
                check=False,
            )
        if ended.returncode:
            print((copy / "log").read_text(errors="replace")[-3000:])
            return 1
        results = {file: outcomes(copy / "mutants" / f"{file}.meta") for file in files}
        _show_survivors(copy, results)
    return _table(results)


def _copied(copy: pathlib.Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(_PROFILE)


def with_plain_properties(source: str) -> str:
    """Return the module with each property as a plain method that becomes one a line later.

    mutmut leaves decorated functions alone.
    """
    lines = source.splitlines(keepends=True)
    found = [
        (node, decorator)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Name) and decorator.id == "property"
    ]
    for node, decorator in sorted(found, key=lambda pair: -pair[0].lineno):
        indent = " " * node.col_offset
        lines.insert(node.end_lineno or node.lineno, f"\n{indent}{node.name} = property({node.name})\n")
        del lines[decorator.lineno - 1]
    return "".join(lines)


def outcomes(meta: pathlib.Path) -> dict[str, str]:
    """Return what became of each mutant of a file."""
    codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    return {name: SURVIVED if code is None else _OUTCOMES.get(code, SURVIVED) for name, code in codes.items()}


def _show_survivors(copy: pathlib.Path, results: dict[str, dict[str, str]]) -> None:
    for file, found in results.items():
        for name, outcome in found.items():
            if outcome != KILLED:
                shown = subprocess.run(
                    [sys.executable, "-m", "mutmut", "show", name],
                    cwd=copy,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=False,
                ).stdout
                changed = [
                    line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
                ]
                print(f"{file}: {outcome}: {name.rpartition('.')[2]}", *changed, sep="\n    ")


def _table(results: dict[str, dict[str, str]]) -> int:
    print(f"{'file':28}{'mutants':>9}{KILLED:>9}{SURVIVED:>10}{UNTESTED:>10}{TIMED_OUT:>11}{'seen':>8}")
    failed = 0
    for file, found in results.items():
        count = Counter(found.values())
        # A mutant that never ends is seen: the test does not pass.
        seen = (count[KILLED] + count[TIMED_OUT]) / len(found)
        failed |= seen < ENOUGH
        print(
            f"{file:28}{len(found):9}{count[KILLED]:9}{count[SURVIVED]:10}{count[UNTESTED]:10}"
            f"{count[TIMED_OUT]:11}{seen:8.1%}"
        )
    if failed:
        print(f"below {ENOUGH:.0%}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
