from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loki_world import Page, World

from exporter.collector import SourceCollector
from exporter.sources.loki_mode import Wanted
from exporter.sources.loki_mode.discovery import MAX_PROJECTS, Names, find, is_pattern
from exporter.sources.loki_mode.project_search import ProjectSearch

MakeProject = Callable[..., World]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[MakeProject]:
    """Return a maker of projects below one folder, each with one event a number."""
    made: list[World] = []

    def make(name: str, *, events: int = 1, state_name: str | None = None) -> World:
        world = World(tmp_path / "srv" / name / ".loki")
        made.append(world)
        for _ in range(events):
            world.event("rollback")
        if state_name is not None:
            world.state(project={"name": state_name})
        return world

    yield make
    for world in made:
        world.close()


def events(page: Page) -> dict[str, float]:
    """Return loki_events_total by its labels."""
    return page.of("loki_events_total")


def directories(wanted: Wanted) -> list[str]:
    """Return what a search for projects finds, registry included."""
    search = ProjectSearch(wanted.registry, keep_s=60.0)
    return list(find(wanted, search.registered(1_000.0)).directories)


def glob_of(tmp_path: Path) -> str:
    """Return the glob over all projects below the folder."""
    return str(tmp_path / "srv" / "*" / ".loki")


class TestLabels:
    """The label `project`."""

    def test_one_plain_directory_has_none(self, project: MakeProject) -> None:
        """Existing dashboards and alerts work unchanged."""
        assert events(project("shop", state_name="Shop").page()) == {"": 1}

    def test_a_glob_has_it_with_one_match_too(self, project: MakeProject, tmp_path: Path) -> None:
        """A second match must not flip the labels of the first, so the first has one from the beginning."""
        shop = project("shop")
        collector = shop.collector(Wanted((glob_of(tmp_path),)))
        assert events(shop.page(collector)) == {'{project="shop"}': 1}
        project("club", events=2)
        shop.advance(11)

        assert events(shop.page(collector)) == {'{project="shop"}': 1, '{project="club"}': 2}

    def test_several_directories_have_it(self, project: MakeProject) -> None:
        """Also while only one of them exists."""
        shop = project("shop")
        wanted = Wanted((str(shop.root), str(shop.root.parents[1] / "club" / ".loki")))
        page = shop.page(shop.collector(wanted))

        assert events(page) == {'{project="shop"}': 1}
        assert page.value("tallyship_exporter_source_up", source="loki-mode", project="club") == 0

    def test_every_number_of_a_project_has_it(self, project: MakeProject, tmp_path: Path) -> None:
        """No series of two projects can be one."""
        shop = project("shop", state_name="s")
        project("club", state_name="c")
        page = shop.page(shop.collector(Wanted((glob_of(tmp_path),))))
        bare = [key for key in page if "project=" not in key and 'source="loki-mode-search"' not in key]

        assert {key.partition("{")[0] for key in bare} == {
            "tallyship_exporter_build_info",
            "tallyship_exporter_readings_total",
            "tallyship_exporter_reading_duration_seconds",
            "tallyship_exporter_search_failures_total",
            "tallyship_exporter_projects",
            "tallyship_exporter_projects_left_out",
        }

    def test_the_name_is_configured_else_stated_else_the_folder(
        self, project: MakeProject, tmp_path: Path
    ) -> None:
        """Configuration goes before the state's project name, that before the folder's."""
        one = project("one", state_name="ignored")
        project("two", state_name="stated")
        project("three")
        wanted = Wanted((glob_of(tmp_path),), names={str(one.root): "configured"})

        names = {key.split('"')[1] for key in events(one.page(one.collector(wanted)))}
        assert names == {"configured", "stated", "three"}

    def test_two_of_one_name_are_told_apart(self, project: MakeProject, tmp_path: Path) -> None:
        """The second gets a number, and both keep their names for good."""
        first = project("a", events=1, state_name="same")
        project("b", events=2, state_name="same")
        collector = first.collector(Wanted((glob_of(tmp_path),)))
        expected = {'{project="same"}': 1, '{project="same-2"}': 2}

        assert events(first.page(collector)) == expected
        first.advance(11)
        first.state(project={"name": "renamed"})
        assert events(first.page(collector)) == expected

    def test_a_name_is_fit_for_scripts_that_split_on_blanks(self) -> None:
        """No blanks, no control characters; nothing at all becomes `project`."""
        names = Names({"/a": " my \n shop "})

        assert names.name("/a", None) == "my_shop"
        assert names.name("/b", "\ud800") == "\ufffd"
        assert names.name("/", None) == "project"
        assert names.name("/srv/club/.loki", None) == "club"

    def test_a_project_that_comes_back_has_its_name(self, project: MakeProject, tmp_path: Path) -> None:
        """Removed and made again: the same name, for the directory is the same."""
        shop, club = project("shop", state_name="x"), project("club", state_name="x")
        collector = shop.collector(Wanted((glob_of(tmp_path),)))
        before = set(events(shop.page(collector)))
        club.root.rename(tmp_path / "aside")
        shop.advance(11)
        without = set(events(shop.page(collector)))
        (tmp_path / "aside").rename(club.root)
        shop.advance(11)

        assert len(without) == 1
        assert set(events(shop.page(collector))) == before


class TestFind:
    """Which directories are read."""

    def test_a_directory_given_twice_is_read_once(self, project: MakeProject, tmp_path: Path) -> None:
        """In whatever spelling, also by a glob or a link: its numbers are not counted twice."""
        shop = project("shop")
        (tmp_path / "link").symlink_to(shop.root)
        wanted = Wanted(
            (
                str(shop.root),
                f"{shop.root}/",
                f"{shop.root}/../.loki",
                str(tmp_path / "link"),
                glob_of(tmp_path),
            )
        )

        assert directories(wanted) == [str(shop.root)]

    def test_a_directory_with_a_strange_name_is_taken_as_it_is(self, tmp_path: Path) -> None:
        """`[x]` is a pattern only while no directory is called so."""
        strange = tmp_path / "[x]"
        assert is_pattern(str(strange))
        strange.mkdir()

        assert not is_pattern(str(strange))
        assert directories(Wanted((str(strange),))) == [str(strange)]

    def test_a_glob_finds_directories_only(self, tmp_path: Path) -> None:
        """A file that matches is no project."""
        (tmp_path / "a").mkdir()
        (tmp_path / "b").write_text("", "utf-8")

        assert directories(Wanted((str(tmp_path / "*"),))) == [str(tmp_path / "a")]

    def test_home_is_known(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A tilde is the user's home; that of a user who does not exist is a name like any other."""
        monkeypatch.setenv("HOME", str(tmp_path))

        assert directories(Wanted(("~/shop/.loki",))) == [str(tmp_path / "shop" / ".loki")]
        assert directories(Wanted(("~no-such-user-here/.loki",))) == ["~no-such-user-here/.loki"]

    def test_the_number_of_projects_is_bounded(self, tmp_path: Path) -> None:
        """A glob that matches the world does not read it."""
        for number in range(MAX_PROJECTS + 10):
            (tmp_path / f"p{number}").mkdir()

        found = find(Wanted((str(tmp_path / "*"),)), ())

        assert (len(found.directories), found.left_out) == (MAX_PROJECTS, 10)


class TestRegistry:
    """`~/.loki/dashboard/projects.json`, which agents write, too."""

    @staticmethod
    def registry(tmp_path: Path, *paths: object) -> Wanted:
        """Write a registry of these paths."""
        file = tmp_path / "projects.json"
        file.write_text(
            json.dumps({"version": "1.0", "projects": {str(n): {"path": p} for n, p in enumerate(paths)}})
        )
        return Wanted((), registry=str(file))

    def test_names_the_projects_that_are_there(self, project: MakeProject, tmp_path: Path) -> None:
        """Registered projects with a .loki directory are read, labelled; others are passed over."""
        shop = project("shop")
        wanted = self.registry(tmp_path, str(shop.root.parent), str(tmp_path / "gone"))

        assert events(shop.page(shop.collector(wanted))) == {'{project="shop"}': 1}

    @pytest.mark.parametrize(
        "path",
        [
            None,
            5,
            "",
            "  ",
            "a\0b",
            "\ud800",
            "x" * 5_000,
            "/proc/self/fd/../../1/root/nope",
            [],
            "~nobody-here",
        ],
    )
    def test_survives_absurd_paths(self, project: MakeProject, tmp_path: Path, path: object) -> None:
        """A path that is none costs nothing but itself."""
        shop = project("shop")
        wanted = self.registry(tmp_path, path, str(shop.root.parent))

        assert directories(wanted) == [str(shop.root)]

    @pytest.mark.parametrize("text", [b"", b"[", b"[]", b"null", b'{"projects": 5}', b"\xff", b"[" * 100_000])
    def test_survives_absurd_contents(self, project: MakeProject, tmp_path: Path, text: bytes) -> None:
        """A registry that is none has no projects; the page has the exporter's own numbers."""
        (tmp_path / "projects.json").write_bytes(text)
        shop = project("shop")
        page = shop.page(shop.collector(Wanted((), registry=str(tmp_path / "projects.json"))))

        assert page.value("tallyship_exporter_readings_total") == 1

    def test_a_fifo_does_not_hang_the_scrape(self, tmp_path: Path) -> None:
        """Opening a FIFO would wait for its writer; a directory and nothing at all are refused, too."""
        os.mkfifo(tmp_path / "fifo")
        began_s = time.monotonic()

        assert directories(Wanted((), registry=str(tmp_path / "fifo"))) == []
        assert directories(Wanted((), registry=str(tmp_path))) == []
        assert directories(Wanted((), registry=str(tmp_path / "none"))) == []
        assert time.monotonic() - began_s < 1

    def test_forbidden_projects_are_passed_over(
        self, project: MakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A registered project in a home that we may not enter costs nothing but itself."""
        shop = project("shop")
        wanted = self.registry(tmp_path, "/home/somebody/app", str(shop.root.parent))
        real_stat = os.stat

        def deny(path: object, *args: object, **kwargs: object) -> os.stat_result:
            if str(path).startswith("/home/somebody"):
                raise PermissionError(13, "Permission denied")
            return real_stat(path, *args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "stat", deny)

        assert directories(wanted) == [str(shop.root)]


class TestMissing:
    """A project directory that may still appear."""

    def test_is_down_and_waited_for(self, project: MakeProject, tmp_path: Path) -> None:
        """Up is 0 and its numbers are absent until the directory is there."""
        shop = project("shop")
        shop.root.rename(tmp_path / "aside")
        down = shop.page()
        (tmp_path / "aside").rename(shop.root)
        up = shop.page()

        assert down.value("tallyship_exporter_source_up", source="loki-mode") == 0
        assert not [key for key in down if key.startswith("loki_")]
        assert down.errors == {"missing": 1}
        assert up.value("tallyship_exporter_source_up", source="loki-mode") == 1
        assert up.value("loki_events_total") == 1

    def test_is_one_error_however_long_it_lasts(self, project: MakeProject, tmp_path: Path) -> None:
        """Down for a hundred scrapes is one damage; down again later is another."""
        shop = project("shop")
        for _ in range(2):
            shop.root.rename(tmp_path / "aside")
            for _ in range(5):
                shop.advance(15)
                down = shop.page()
            (tmp_path / "aside").rename(shop.root)
            shop.advance(15)
            shop.page()

        assert down.errors == {"missing": 2}

    def test_that_goes_while_it_is_read_keeps_its_counter(self, project: MakeProject, tmp_path: Path) -> None:
        """Away and back: the events that were counted stay counted, once."""
        shop = project("shop", events=3)
        shop.page()
        shop.root.rename(tmp_path / "aside")
        shop.page()
        (tmp_path / "aside").rename(shop.root)
        shop.event("rollback")

        assert shop.page().value("loki_events_total") == 4

    def test_that_goes_takes_no_count_of_the_exporter_with_it(
        self, project: MakeProject, tmp_path: Path
    ) -> None:
        """Rejected lines were rejected, also while the source is down; how much is unread is then unknown."""
        shop = project("shop")
        shop.write("events.jsonl", b"torn\n" * 3)
        shop.page()
        shop.root.rename(tmp_path / "aside")
        down = shop.page()

        assert down.value("tallyship_exporter_lines_rejected_total", source="loki-mode") == 3
        assert down.value("tallyship_exporter_unread_bytes", source="loki-mode") is None

    def test_that_is_a_file_is_down(self, tmp_path: Path) -> None:
        """Something else in its place is no project."""
        world = World(tmp_path / "shop" / ".loki")
        world.root.rmdir()
        world.root.write_text("no directory", "utf-8")
        page = world.page()
        world.close()

        assert page.value("tallyship_exporter_source_up", source="loki-mode") == 0


def test_forgotten_projects_give_their_descriptors_back(project: MakeProject, tmp_path: Path) -> None:
    """A project that no glob finds any more holds nothing open."""
    shop, club = project("shop"), project("club")
    collector: SourceCollector = shop.collector(Wanted((glob_of(tmp_path),)))
    shop.page(collector)
    club.root.rename(tmp_path / "aside")
    shop.advance(11)
    shop.page(collector)
    open_files = [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]

    assert [name for name in open_files if "aside" in name] == []


class TestComingBack:
    """What is gone for a moment, because somebody rewrites it."""

    def test_a_torn_registry_costs_nobody_his_numbers(self, project: MakeProject, tmp_path: Path) -> None:
        """Its last good list stands, the damage is counted, and no counter falls."""
        shop = project("shop", events=10)
        wanted = TestRegistry.registry(tmp_path, str(shop.root.parent))
        collector = shop.collector(wanted)
        shop.page(collector)
        whole = (tmp_path / "projects.json").read_bytes()
        shop.write("events.jsonl", b"")
        (tmp_path / "projects.json").write_bytes(whole[:20])
        shop.advance(11)
        torn = shop.page(collector)
        (tmp_path / "projects.json").write_bytes(whole)
        shop.advance(11)

        assert events(torn) == {'{project="shop"}': 10}
        assert (
            torn.value("tallyship_exporter_source_errors_total", source="loki-mode-search", reason="torn")
            == 1
        )
        assert events(shop.page(collector)) == {'{project="shop"}': 10}

    def test_a_directory_that_a_glob_misses_is_down_and_goes_on_counting(
        self, project: MakeProject, tmp_path: Path
    ) -> None:
        """Down while it is away; back, it counts on from where it was, also when it was away for an hour."""
        shop, club = project("shop"), project("club", events=5)
        collector = shop.collector(Wanted((glob_of(tmp_path),)))
        shop.page(collector)
        club.root.rename(tmp_path / "aside")
        shop.advance(11)
        away = shop.page(collector)
        shop.advance(3600)
        forgotten = shop.page(collector)
        (tmp_path / "aside").rename(club.root)
        club.write("events.jsonl", b"")
        shop.advance(11)

        assert away.value("tallyship_exporter_source_up", source="loki-mode", project="club") == 0
        assert forgotten.value("tallyship_exporter_source_up", source="loki-mode", project="club") is None
        assert events(shop.page(collector))['{project="club"}'] == 5

    def test_a_torn_state_does_not_decide_what_a_project_is_called(
        self, project: MakeProject, tmp_path: Path
    ) -> None:
        """A project is left out until its name can be known, and bears that name then."""
        shop = project("folder")
        shop.write("dashboard-state.json", b'{"project": {"na')
        collector = shop.collector(Wanted((glob_of(tmp_path),)))
        assert events(shop.page(collector)) == {}
        shop.state(project={"name": "shop"})
        shop.advance(3)

        assert events(shop.page(collector)) == {'{project="shop"}': 1}

    def test_a_state_that_stays_torn_is_not_waited_for_longer_than_a_minute(
        self, project: MakeProject, tmp_path: Path
    ) -> None:
        """Then the folder's name has to do."""
        shop = project("folder")
        shop.write("dashboard-state.json", b'{"project": {"na')
        collector = shop.collector(Wanted((glob_of(tmp_path),)))
        shop.page(collector)
        shop.advance(61)

        assert events(shop.page(collector)) == {'{project="folder"}': 1}


class TestSearch:
    """What the search for projects tells of itself."""

    def test_projects_beyond_the_limit_are_told(
        self, project: MakeProject, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """How many are left out is a number, and said once."""
        for number in range(MAX_PROJECTS + 10):
            (tmp_path / "many" / f"p{number}").mkdir(parents=True)
        shop = project("shop")
        collector = shop.collector(Wanted((str(tmp_path / "many" / "*"),)))
        page = shop.page(collector)
        shop.advance(11)
        shop.page(collector)

        assert page.value("tallyship_exporter_projects") == MAX_PROJECTS
        assert page.value("tallyship_exporter_projects_left_out") == 10
        assert len([record for record in caplog.records if "left out" in record.getMessage()]) == 1

    def test_a_registry_that_is_not_there_yet_is_down(self, project: MakeProject, tmp_path: Path) -> None:
        """It is waited for, counted once, and its projects come with it."""
        shop = project("shop")
        collector = shop.collector(Wanted((), registry=str(tmp_path / "projects.json")))
        down = shop.page(collector)
        TestRegistry.registry(tmp_path, str(shop.root.parent))
        shop.advance(11)

        assert down.value("tallyship_exporter_source_up", source="loki-mode-search") == 0
        assert events(shop.page(collector)) == {'{project="shop"}': 1}
