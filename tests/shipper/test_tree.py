from __future__ import annotations

import os
import pathlib

import pytest

from shipper.follow.tree import Refused, is_away, open_regular, pattern, walk


def made(root: pathlib.Path, *names: str) -> None:
    """Write small files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}\n")


def seen(root: pathlib.Path, glob: str) -> list[str]:
    """Return what a walk finds below `root`."""
    return sorted(os.path.relpath(path, root) for path in walk(pattern(f"{root}/{glob}")).files)


def test_only_the_levels_that_a_pattern_names_are_walked(tmp_path: pathlib.Path) -> None:
    """Not deeper, not shallower, nothing hidden."""
    made(tmp_path, "a/x.jsonl", "a/b/x.jsonl", "a/b/.x.jsonl", "x.jsonl", "a/b/x.db", ".h/b/x.jsonl")

    assert seen(tmp_path, "*/*/*.jsonl") == ["a/b/x.jsonl"]
    assert seen(tmp_path, "**/*.jsonl") == ["a/b/x.jsonl", "a/x.jsonl", "x.jsonl"]


def test_nothing_below_the_root_is_followed_through_a_link(tmp_path: pathlib.Path) -> None:
    """The agents' tree is not trusted: a link in it could show any file of the host to Loki."""
    made(tmp_path, "tree/real.jsonl", "secret/secret.jsonl")
    (tmp_path / "tree/link.jsonl").symlink_to(tmp_path / "secret/secret.jsonl")
    (tmp_path / "tree/folder").symlink_to(tmp_path / "secret")

    assert seen(tmp_path / "tree", "**/*.jsonl") == ["real.jsonl"]
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        open_regular(str(tmp_path / "tree/link.jsonl"), str(tmp_path / "tree"))
    with pytest.raises(Refused, match="leads out of"):
        open_regular(str(tmp_path / "tree/folder/secret.jsonl"), str(tmp_path / "tree"))


def test_a_fifo_neither_hangs_nor_is_opened(tmp_path: pathlib.Path) -> None:
    """Only regular files are."""
    os.mkfifo(tmp_path / "x.jsonl")

    assert seen(tmp_path, "*.jsonl") == []
    with pytest.raises(Refused, match="no regular file"):
        open_regular(str(tmp_path / "x.jsonl"), str(tmp_path))


def test_a_name_that_is_no_utf8_costs_its_own_file_only(tmp_path: pathlib.Path) -> None:
    """Positions are UTF-8, and could not hold it; it is told, not followed."""
    made(tmp_path, "good.jsonl")
    bad = os.fsencode(tmp_path) + b"/\xff.jsonl"
    os.close(os.open(bad, os.O_CREAT | os.O_WRONLY))
    wanted = pattern(f"{tmp_path}/*.jsonl")

    found = walk(wanted)

    assert [pathlib.Path(path).name for path in found.files] == ["good.jsonl"]
    assert found.problems == []
    assert found.refused == [(f"{tmp_path}/\\udcff.jsonl", "the name is not UTF-8: not followed")]
    assert not wanted.matches(os.fsdecode(bad))


@pytest.mark.parametrize(
    ("glob", "directory", "has"),
    [
        ("/a/*.jsonl", "/a", True),
        ("/a/*.jsonl", "/a/b", False),
        ("/a/*/.loki/events.jsonl", "/a/b/.loki", True),
        ("/a/*/.loki/events.jsonl", "/a/b", False),
        ("/a/**/*.jsonl", "/a", True),
        ("/a/**/*.jsonl", "/a/b/c", True),
        ("/a/**/*.jsonl", "/a/.b", False),
        ("/a/b.jsonl", "/a", True),
        ("/a/b.jsonl", "/ab", False),
    ],
)
def test_a_pattern_knows_the_directories_of_its_files(glob: str, directory: str, has: bool) -> None:  # noqa: FBT001 - a table
    """A renamed file is still in the directory of one that the pattern covers."""
    assert pattern(glob).has_directory(directory) is has


def test_a_file_is_away_when_its_place_cannot_be_looked_at(tmp_path: pathlib.Path) -> None:
    """A directory that is gone, or empty on another device, hides it; one with other files does not."""
    made(tmp_path, "x/a.jsonl")
    (tmp_path / "empty").mkdir()
    device = tmp_path.stat().st_dev

    def away(name: str, dev: int = device) -> bool:
        return is_away(str(tmp_path / name), str(tmp_path), dev)

    assert away("gone/a.jsonl")
    assert away("empty/a.jsonl", device + 1)
    assert away("x/a.jsonl/b.jsonl")
    assert not away("empty/a.jsonl")
    assert not away("x/b.jsonl", device + 1)


def test_directories_that_are_too_deep_are_said_to_be_refused(tmp_path: pathlib.Path) -> None:
    """Without a word somebody would look for these lines in Loki for long."""
    deep = tmp_path.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "x.jsonl").touch()
    (tmp_path / "top.jsonl").touch()
    found = walk(pattern(f"{tmp_path}/**/*.jsonl"))

    assert list(found.files) == [f"{tmp_path}/top.jsonl"]
    ((path, why),) = found.refused
    assert path == str(tmp_path.joinpath(*["d"] * 33))
    assert "32 directories deep" in why


def test_of_a_deep_tree_one_directory_at_a_time_is_open(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each level that is held open would take a descriptor of those that are left for pushes and saves."""
    tmp_path.joinpath(*["d"] * 30).mkdir(parents=True)
    scandir, open_ = os.scandir, []
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - what the kernel says

    def counted(directory: int) -> object:
        entries = scandir(directory)
        open_.append(len(os.listdir("/proc/self/fd")) - before)  # noqa: PTH208 - as above
        return entries

    monkeypatch.setattr("shipper.follow.tree.os.scandir", counted)
    walk(pattern(f"{tmp_path}/**/*.jsonl"))

    assert len(open_) == 31
    assert max(open_) == 2, "its descriptor, and that of its listing"
