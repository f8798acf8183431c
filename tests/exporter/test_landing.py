"""The page at `/`: what a person sees of each project, and what no file can make of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest
from loki_world import World

from exporter.config import Config
from exporter.glance import phrases
from exporter.glance.landing import landing_page, page
from exporter.glance.overview import Session, SourceOverview, overview
from exporter.selfmetrics import SourceAccount
from exporter.service import lone_title, make_collector
from exporter.sources.loki_mode import Wanted
from exporter.sources.loki_mode.discovery import MAX_PROJECTS
from exporter.sources.loki_mode.families import ALL
from exporter.sources.loki_mode.session import Status
from exporter.web.landing import CONTENT_SECURITY_POLICY, STYLE

NOW_S = 1_795_000_000.0
DASH = "\N{EN DASH}"


class _Reader(HTMLParser):
    """Reads a page as a browser would: tags, texts by fact, and the texts of headings and badges."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.facts: dict[str, str] = {}
        self.headings: list[str] = []
        self.badges: list[str] = []
        self._open: list[str] = []
        self._name = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "dt":
            self._name = ""
        if tag == "h2":
            self.headings.append("")
        if tag == "strong":
            self.badges.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "dt" in self._open:
            self._name += data
        elif "dd" in self._open:
            self.facts[self._name] = self.facts.get(self._name, "") + data
        elif "h2" in self._open:
            self.headings[-1] += data
        elif "strong" in self._open:
            self.badges[-1] += data


def _session(**known: object) -> Session:
    nothing = dict.fromkeys(Session.__dataclass_fields__)
    return Session(**{**nothing, "info": {}, "tasks": {}, "is_budget_exceeded": False, **known})  # type: ignore[arg-type]


def _source(session: Session | None = None, **fields: object) -> SourceOverview:
    known = {"title": "shop", "kind": "loki-mode", "is_up": True, "down_reason": None, "read_at_s": NOW_S}
    return SourceOverview(session=session, **{**known, **fields})  # type: ignore[arg-type]


def _read(*sources: SourceOverview, path: str = "/metrics") -> _Reader:
    return _Reader(page(sources, path, "1.2.3", NOW_S))


def test_running_project_shows_what_its_files_say(world: World) -> None:
    """Status, iteration, tasks, agents, cost against budget, uptime and last event, out of real files."""
    world.runner(age_s=3_900)
    world.environ["LOKI_MAX_ITERATIONS"] = "40"
    world.state(mode="autonomous", phase="DEVELOPMENT", version="5.46.0", provider="claude")
    world.event("session_start", age_s=3_900)
    world.event("iteration_start", age_s=12, iteration=7)
    for name, length in (("pending", 3), ("in-progress", 1), ("completed", 12), ("failed", 0)):
        world.write(f"queue/{name}.json", [{"id": str(n)} for n in range(length)])
    agents = [{"tool_id": str(n), "status": "active" if n < 4 else "completed"} for n in range(9)]
    world.write("state/agents.json", agents)
    world.write("metrics/efficiency/iteration-1.json", {"iteration": 1, "model": "opus", "cost_usd": 4.38})
    world.write("metrics/budget.json", {"limit": 5, "budget_limit": 5, "budget_used": 4.1})

    read = _Reader(landing_page(world.collector(), "/metrics", "shop", lambda: world.now_s))

    assert read.facts == {
        "Iteration": "7 of 40",
        "Tasks": "3 pending, 1 in progress, 12 completed, 0 failed",
        "Agents": "4 active of 9",
        "Cost": "$4.38 of $5.00, 88%Loki Mode's own count: $4.10",
        "Uptime": "1 h 05 min",
        "Last event": "12 s ago2 events in all",
    }
    assert (read.headings, read.badges) == (["shop"], ["running"])
    assert "DEVELOPMENT · claude · 5.46.0" in read.text
    assert "1 project: 1 running. Read 0 s ago." in read.text


def test_unknown_is_a_dash_that_says_unknown() -> None:
    """No number stands where none is known, not even 0."""
    read = _read(_source(_session()))

    assert read.facts == {
        "Iteration": f"{DASH} of {DASH}",
        "Tasks": f"{DASH} pending, {DASH} in progress, {DASH} completed, {DASH} failed",
        "Agents": f"{DASH} active of {DASH}",
        "Cost": DASH,
        "Uptime": DASH,
        "Last event": DASH,
    }
    assert read.badges == ["unknown"]
    assert [attributes for tag, attributes in read.tags if tag == "abbr"] == [{"title": "unknown"}] * 11


def test_zero_is_shown_as_zero() -> None:
    """A number that is known to be 0 is no dash."""
    read = _read(
        _source(
            _session(
                status=Status.STOPPED,
                iteration=0,
                iteration_max=1000,
                agents_active=0,
                agents_total=0,
                cost_usd=0,
                uptime_s=0,
                events=0,
            )
        )
    )

    assert read.facts["Iteration"] == "0 of 1,000"
    assert read.facts["Agents"] == "0 active of 0"
    assert read.facts["Cost"] == "$0.00"
    assert read.facts["Uptime"] == "0 s"
    assert read.badges == ["stopped"]


@pytest.mark.parametrize(("cost", "tone"), [(3.99, None), (4.01, "warn"), (4.51, "bad"), (7.0, "bad")])
def test_cost_changes_its_colour_where_the_alerts_fire(cost: float, tone: str | None) -> None:
    """Over 80 % of the budget it warns, over 90 % it is bad; the bar never overflows."""
    read = _read(_source(_session(cost_usd=cost, budget_limit_usd=5.0)))
    tones = [a["class"] for tag, a in read.tags if tag == "span" and a.get("class", "unbroken") != "unbroken"]
    meters = [a for tag, a in read.tags if tag == "meter"]

    assert tones == ([tone] if tone else [])
    assert meters == [
        {"max": "5.0", "low": "4.0", "high": "4.5", "optimum": "0", "value": str(min(cost, 5.0))}
    ]


def test_cost_that_nobody_measured_leaves_the_budget_standing() -> None:
    """A dash against the limit, and no bar: an empty bar would say that nothing was spent."""
    read = _read(_source(_session(budget_limit_usd=5.0, is_budget_exceeded=True)))

    assert read.facts["Cost"] == f"{DASH} of $5.00Loki Mode says: budget exceeded"
    assert not [tag for tag, _ in read.tags if tag == "meter"]


def test_source_that_is_down_says_why_and_shows_no_number(world: World) -> None:
    """A project whose directory is gone is a card with the reason."""
    gone = str(world.root.parent / "gone")
    collector = world.collector(Wanted((str(world.root), gone)))

    read = _Reader(landing_page(collector, "/metrics", "", lambda: world.now_s))

    assert (read.headings[0], read.badges[0]) == ("gone", "down")
    assert f"Source down: {gone}: No such file or directory" in read.text
    assert "2 projects: 1 down, 1 stopped." in read.text


def test_health_of_a_source_tells_what_was_not_read() -> None:
    """Damage since the start, history still to read, records without a cost: each with its number."""
    read = _read(
        _source(
            _session(),
            unread_bytes=3 << 20,
            lines_rejected=2,
            records_unmeasured=1,
            errors={"torn": 4, "permission": 1},
        )
    )

    assert (
        "Source up; 3 MiB of history still to read; files not read since the start: torn 4, permission 1; "
        "lines that are no JSON: 2; records that tell no cost: 1"
    ) in read.text


def test_numbers_are_as_fresh_as_a_scrape(world: World) -> None:
    """Nobody has to scrape for the page to move: it reads by itself, as a scrape does."""
    world.state(mode="autonomous")
    collector = world.collector()
    assert _Reader(landing_page(collector, "/metrics", "shop", lambda: world.now_s)).badges == ["running"]
    world.write("loki.pid", "4242\n")

    assert _Reader(landing_page(collector, "/metrics", "shop", lambda: world.now_s)).badges == ["stopped"]


def test_time_of_the_reading_is_told(world: World) -> None:
    """With a long cache window the page says how old its numbers are."""
    collector = world.collector(cache_s=3_600.0)
    landing_page(collector, "/metrics", "shop", lambda: world.now_s)
    world.advance(95)

    assert "Read 1 min 35 s ago." in landing_page(collector, "/metrics", "shop", lambda: world.now_s)


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"


def test_names_from_files_are_text_and_nothing_else() -> None:
    """A project, phase, provider, version or reason that is HTML stays what it says, as text."""
    info = {"phase": HOSTILE, "provider": HOSTILE, "version": HOSTILE}
    read = _read(
        _source(_session(info=info), title=HOSTILE),
        _source(is_up=False, down_reason=HOSTILE, title="down"),
        path=f'/m"{HOSTILE}',
    )

    assert read.headings == ["down", HOSTILE]
    assert read.text.count(HOSTILE) == 5
    assert not {"script", "img", "b"} & {tag for tag, _ in read.tags}
    assert next(a["href"] for tag, a in read.tags if tag == "a") == f'./m"{HOSTILE}'


def test_page_needs_nothing_but_itself() -> None:
    """No script, no image, no address but its own pages; the policy's hash allows its style."""
    text = page([_source(_session(cost_usd=1, budget_limit_usd=5))], "/metrics", "1.2.3", NOW_S)
    read = _Reader(text)

    assert {
        value for _, attributes in read.tags for name, value in attributes.items() if name in {"href", "src"}
    } == {
        "./metrics",
        "./health",
        "./-/ready",
    }
    assert not [
        name for _, attributes in read.tags for name in attributes if name == "style" or name.startswith("on")
    ]
    assert re.findall(r"<style>(.*?)</style>", text, re.DOTALL) == [STYLE]
    assert "url(" not in STYLE
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert {"http-equiv": "refresh", "content": "15"} in [a for tag, a in read.tags if tag == "meta"]


def test_every_element_is_closed() -> None:
    """The page is well formed, whatever is unknown: a card left open would swallow the next one."""
    sources = [
        _source(_session()),
        _source(_session(cost_usd=1, iteration=1, iteration_max=2)),
        _source(is_up=False),
    ]
    text = page(sources, "/metrics", "1.2.3", NOW_S)
    for tag in (
        "main",
        "article",
        "header",
        "h2",
        "dl",
        "div",
        "dt",
        "dd",
        "p",
        "span",
        "bdi",
        "strong",
        "small",
    ):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_no_project_says_what_to_do() -> None:
    """A configuration that matches nothing is no empty page."""
    read = _read()

    assert read.headings == ["No project found"]
    assert "tallyship-exporter doctor" in read.text
    assert "0 projects." in read.text


def test_event_from_the_future_is_called_so() -> None:
    """A wrong clock is shown, not hidden behind "0 s ago"; a time that no calendar has is no crash."""
    ahead = _read(_source(_session(last_event_s=NOW_S + 3_600)))
    absurd = _read(_source(_session(last_event_s=1e15)))

    assert ahead.facts["Last event"] == "1 h 00 min in the future"
    assert absurd.facts["Last event"].endswith("in the future")


def test_lone_project_is_called_by_its_folder_unless_it_has_a_name() -> None:
    """Its metrics carry no name, but its card needs one."""
    directory = "/srv/shop/.loki"

    assert lone_title(Config(loki_dirs=(directory,))) == "shop"
    assert lone_title(Config(loki_dirs=(directory,), names={directory: "Toys"})) == "Toys"
    assert lone_title(Config(loki_dirs=(), registry="x")) == "Loki Mode"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (1e9, "11,574 d 1 h"),
    ],
)
def test_duration_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    """Nobody has to divide by 3600."""
    assert phrases.duration(seconds) == said


@pytest.mark.parametrize(
    ("dollars", "said"),
    [(0, "$0.00"), (0.0042, "$0.0042"), (0.01, "$0.01"), (4.375, "$4.38"), (12345.6, "$12,345.60")],
)
def test_money_that_is_not_nothing_is_not_shown_as_nothing(dollars: float, said: str) -> None:
    """Less than a cent keeps its digits."""
    assert phrases.usd(dollars) == said


@pytest.mark.parametrize(
    ("bytes_", "said"), [(0, "0 bytes"), (1536, "1.5 KiB"), (50 << 20, "50 MiB"), (3 << 30, "3.0 GiB")]
)
def test_size_is_said_in_the_unit_that_fits(bytes_: int, said: str) -> None:
    """As people write sizes."""
    assert phrases.size(bytes_) == said


def test_source_that_is_no_project_is_not_counted_as_one() -> None:
    """A search that failed is a card with its reason, beside "no project found"."""
    search = _source(title="loki-mode-search", is_project=False, is_up=False, down_reason="torn")
    read = _read(search)

    assert "0 projects." in read.text
    assert read.headings == ["No project found", "loki-mode-search"]
    assert read.badges == ["down"]


def test_project_of_which_nothing_is_known_is_not_left_out() -> None:
    """A readable directory that yields no number is a project all the same; a search that is well is none."""

    class Silent:
        name = "loki-mode"
        labels: ClassVar[dict[str, str]] = {}
        families = ALL

    class Search(Silent):
        families = ()

    seen = overview([SourceAccount(Silent()), SourceAccount(Search())], "shop")  # type: ignore[arg-type]

    assert [(source.title, source.is_project, source.session) for source in seen] == [("shop", True, None)]


def test_cards_stand_in_the_order_in_which_they_want_a_look() -> None:
    """Down, unknown, running, paused, stopped; who is alike stays in the order of names; other kinds last."""
    states = {"a": Status.STOPPED, "b": Status.RUNNING, "c": Status.PAUSED, "d": None, "e": Status.RUNNING}
    sources = [_source(_session(status=status), title=title) for title, status in states.items()]
    broken = _source(title="z", is_up=False, down_reason="gone")
    other = _source(title="codex", is_project=False)

    assert _read(other, *sources, broken).headings == ["z", "d", "b", "e", "c", "a", "codex"]


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, None), (1, "1 more was found and is left out"), (34, "34 more were found and are left out")],
)
def test_projects_that_are_left_out_are_told(count: int, said: str | None) -> None:
    """Who looks for a project beyond the limit learns that it is not read; without such, nothing is said."""
    text = _Reader(page([_source(_session())], "/metrics", "1.2.3", NOW_S, projects_left_out=count)).text

    assert ("left out" in text) is (said is not None)
    assert (said or "") in text
    assert not count or "no more than 200 are read" in text


def test_projects_that_are_left_out_are_counted_from_the_search(tmp_path: Path) -> None:
    """The page of a real collector over more directories than are read says how many are not there."""
    for number in range(MAX_PROJECTS + 3):
        (tmp_path / f"p{number:03}" / ".loki").mkdir(parents=True)
    collector = make_collector(Config(loki_dirs=(f"{tmp_path}/*/.loki",)))
    try:
        text = _Reader(landing_page(collector, "/metrics", "shop")).text
    finally:
        collector.close()

    assert "200 projects" in text
    assert "3 more were found and are left out" in text
