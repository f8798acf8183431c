from __future__ import annotations

import errno
import json
import math
import os
import re
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import DEPENDS_ON, PLACEMENTS, fill, untouched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loki_world import Page, World, page_text

from exporter.sources.loki_mode import Wanted

SCRAPE_LIMIT_S = 1.0
WALL_LIMIT_S = 10.0  # the machine may have other things to do
FILES = sorted(DEPENDS_ON)
_UNLABEL = re.compile(r',project="good"|(?<={)project="good",?')
NO_ERROR_BY = {
    # Anything but lines is no damage in a log: the page says so by what it counts.
    "events.jsonl": {"1 GB file", "100,000-deep list", "100,000-deep object", "empty file", "binary file"},
    # One word, whatever it is.
    "state/provider": {"100,000-deep list", "100,000-deep object", "binary file"},
}


@pytest.fixture
def full(world: World) -> World:
    """Return a project with every file there is, after a first scrape."""
    fill(world)
    return world


def timed_page(world: World) -> Page:
    """Scrape, within a second of work; waiting for a FIFO or a lock would show in the time on the wall."""
    began_s, began_work_s = time.monotonic(), time.process_time()
    page = world.page()
    assert time.process_time() - began_work_s < SCRAPE_LIMIT_S
    assert time.monotonic() - began_s < WALL_LIMIT_S
    return page


def assert_harmless(before: Page, after: Page, path: str) -> None:
    """Assert that the source is up, nothing of ours broke, and no other file's numbers changed."""
    assert after.value("tallyship_exporter_source_up", source="loki-mode") == 1
    assert "internal" not in after.errors
    assert untouched(after, path) == untouched(before, path)


def put(world: World, path: str) -> Path:
    """Make room at a path and return it."""
    world.remove(path)
    return world.root / path


def test_all_files_are_read(full: World) -> None:
    """The project of these tests has every file that is read, and each is good: none is forgotten."""
    page = full.page()
    mtimes = page.of("tallyship_exporter_source_mtime_seconds")

    assert page.errors == {}
    for path in FILES:
        named = {"metrics/efficiency/iteration-1.json": "metrics/efficiency"}.get(path, path)
        if not path.endswith("loki.pid") and not path.startswith(("proofs/", "metrics/result")):
            assert any(f'file="{named}"' in key for key in mtimes), path
        for name in DEPENDS_ON[path]:
            assert [key for key in page if key.startswith(name)] or name == "loki_mode_council_votes", name


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("what", PLACEMENTS)
def test_page_survives(full: World, what: str, path: str) -> None:
    """Whatever lies in a file's place costs that file's numbers, one counted error, and nothing else."""
    before = full.page()
    place, reasons = PLACEMENTS[what]
    full.advance(15)
    place(put(full, path))
    pages = []
    for _ in range(3):
        pages.append(timed_page(full))
        full.advance(1)

    for page in pages:
        assert_harmless(before, page, path)
    if what in NO_ERROR_BY.get(path, ()):
        reasons = {""}
    counted = pages[-1].errors
    assert counted in [{reason: 1} if reason else {} for reason in sorted(reasons)]
    assert counted == pages[0].errors


@pytest.mark.parametrize("path", FILES)
def test_symlink_within_the_tree_is_followed(full: World, path: str) -> None:
    """A link that stays in the tree is as good as the file."""
    before = full.page()
    full.advance(15)
    (full.root / path).rename(full.root / "elsewhere")
    put_back = os.path.relpath(full.root / "elsewhere", (full.root / path).parent)
    (full.root / path).symlink_to(put_back)
    after = timed_page(full)

    assert after.errors == {}
    assert_harmless(before, after, path)
    assert after.of("loki_cost_usd") == before.of("loki_cost_usd")
    assert after.of("loki_events_total") == before.of("loki_events_total")
    assert after.of("loki_session_status") == before.of("loki_session_status")


@pytest.mark.parametrize(
    ("folder", "errors", "theirs"),
    [
        ("context", 1, "loki_mode_tracked_cost_usd"),
        ("metrics", 3, "loki_mode_budget_limit_usd"),
        ("metrics/efficiency", 1, "loki_mode_tokens"),
        ("proofs", 1, "loki_mode_receipts"),
        ("queue", 7, "loki_mode_queue_tasks"),
        ("sessions", 1, "no such metric"),
        ("state", 3, "loki_agents_total"),
    ],
)
def test_symlinked_folder_out_of_the_tree_is_refused(
    full: World, tmp_path: Path, folder: str, errors: int, theirs: str
) -> None:
    """A folder that is a link to somewhere else is not entered, however good the files there are."""
    full.page()
    full.advance(15)
    shutil.move(full.root / folder, tmp_path / "outside")
    (full.root / folder).symlink_to(tmp_path / "outside")
    pages = []
    for _ in range(3):
        pages.append(timed_page(full))
        full.advance(61)

    assert pages[0].errors == pages[-1].errors == {"symlink": errors}
    assert pages[-1].value("tallyship_exporter_source_up", source="loki-mode") == 1
    assert not pages[-1].of(theirs)


KEYS = st.sampled_from(
    [
        *("tasks", "pending", "inProgress", "status", "agents", "mode", "iteration", "cost_usd", "models"),
        *("model", "input_tokens", "input", "output", "qualityGates", "council", "type", "data", "totals"),
        *("current", "total_cost_usd", "context_window_pct", "timestamp", "startedAt", "project"),
        *("budget_limit", "honesty", "headline", "verification", "pid", "version", "phase", "tool_id"),
    ]
)
SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.dictionaries(
        st.sampled_from(FILES),
        st.binary(max_size=300) | ANY_JSON,
        min_size=1,
        max_size=len(FILES),
    )
)
def test_random_contents_are_harmless(contents: dict[str, bytes]) -> None:
    """Random bytes, and random JSON with the very keys that are read, in any number of places at once."""
    with tempfile.TemporaryDirectory() as name:
        world, healthy = World(Path(name) / "bad" / ".loki"), World(Path(name) / "good" / ".loki")
        fill(world)
        fill(healthy)
        expected = healthy.page()
        collector = world.collector(Wanted((str(world.root), str(healthy.root))))
        world.page(collector)
        for path, text in contents.items():
            world.write(path, text)
        page = world.page(collector)
        unlabelled = {
            _UNLABEL.sub("", key).replace("{}", ""): value
            for key, value in page.items()
            if 'project="good"' in key and key.startswith("loki_")
        }
        try:
            assert "internal" not in page.errors
            up = page.of("tallyship_exporter_source_up")
            assert {key: value for key, value in up.items() if "project=" in key} == {
                '{project="bad",source="loki-mode"}': 1,
                '{project="good",source="loki-mode"}': 1,
            }
            assert unlabelled == {key: value for key, value in expected.items() if key.startswith("loki_")}
            assert all(math.isfinite(value) for value in page.values())
        finally:
            world.close()
            healthy.close()


@pytest.fixture
def public_world() -> Iterator[World]:
    """Return a full project that any user may read, and give up root's rights while the test runs."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    world = World(folder / ".loki")
    fill(world)
    is_root = os.geteuid() == 0
    try:
        yield world
    finally:
        if is_root:
            os.seteuid(0)
        world.close()
        for path in folder.rglob("*"):
            path.chmod(0o700)
        shutil.rmtree(folder)


@pytest.mark.parametrize("path", FILES)
def test_permission_denied_is_one_error(public_world: World, path: str) -> None:
    """A file that may not be read costs its numbers and one counted error."""
    before = public_world.page()
    public_world.advance(15)
    (public_world.root / path).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    pages = [timed_page(public_world) for _ in range(3)]

    for page in pages:
        assert_harmless(before, page, path)
    # The event log is open since before: its descriptor goes on being read.
    expected = {} if path == "events.jsonl" else {"permission": 1}
    assert pages[0].errors == pages[-1].errors == expected


def test_permission_denied_on_a_folder_is_told_for_each_file(public_world: World) -> None:
    """A folder that may not be entered takes its files, and no others."""
    before = public_world.page()
    public_world.advance(15)
    (public_world.root / "queue").chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    pages = [timed_page(public_world) for _ in range(3)]

    assert pages[-1].errors == {"permission": 7}
    assert pages[-1].of("loki_cost_usd") == before.of("loki_cost_usd")


@pytest.mark.parametrize("path", FILES)
def test_file_that_vanishes_between_list_and_open_is_missing(
    full: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gone in the moment before it is opened: as good as not there, and no error."""
    name = path.rpartition("/")[2]
    before = full.page()
    full.advance(15)
    content = (full.root / path).read_bytes()
    full.write(path, content + b"\n" if path != "events.jsonl" else content)
    real_open = os.open

    def vanish(opened: str, flags: int, *args: Any, **kwargs: Any) -> int:
        if opened == name and (full.root / path).exists():
            (full.root / path).unlink()
        return real_open(opened, flags, *args, **kwargs)

    monkeypatch.setattr("exporter.files.tree.os.open", vanish)
    after = timed_page(full)

    assert_harmless(before, after, path)
    assert after.errors == {}


def test_link_that_becomes_a_file_while_it_is_resolved_is_one_error(
    full: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a link that is none any more fails; the next scrape reads what is there."""
    before = full.page()
    full.advance(15)
    put(full, "metrics/budget.json").symlink_to("elsewhere")
    full.write("metrics/elsewhere", {"budget_limit": 5})
    with monkeypatch.context() as patch:

        def fail(path: str) -> str:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)

        patch.setattr("exporter.files.tree.os.path.realpath", fail)
        during = timed_page(full)
    after = timed_page(full)

    assert_harmless(before, during, "metrics/budget.json")
    assert during.errors == after.errors == {"io": 1}
    assert after.value("loki_mode_budget_limit_usd") == 5


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM])
def test_failing_device_is_an_error_of_its_files(
    full: World, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each open fails with an error of the device: the source stays up, nothing of ours breaks."""
    full.page()
    full.advance(15)
    for path in FILES:
        full.write(path, (full.root / path).read_bytes() + b" ")
    real_open = os.open

    def fail(opened: str, flags: int, *args: Any, **kwargs: Any) -> int:
        if not flags & os.O_DIRECTORY:
            raise OSError(error, os.strerror(error))
        return real_open(opened, flags, *args, **kwargs)

    monkeypatch.setattr("exporter.files.tree.os.open", fail)
    page = timed_page(full)

    assert page.value("tallyship_exporter_source_up", source="loki-mode") == 1
    assert set(page.errors) == {"io"}


@pytest.mark.parametrize(
    "line", [b"x", b"{", b"{}", b"{}}", b"[]", b"", b'{"type":1}', b'{"\xff":1}}', b'{"a":NaN}']
)
def test_log_of_absurd_lines_does_not_hold_up_a_scrape(
    full: World, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Megabytes of the shortest lines: a scrape reads what it has time for and leaves the rest."""
    monkeypatch.setattr("exporter.collector._CatchUp.want", lambda _self, _sources: None)
    size = 6 << 20
    full.write("events.jsonl", (line + b"\n") * (size // (len(line) + 1)))
    first, second = timed_page(full), timed_page(full)
    unread = [page.value("tallyship_exporter_unread_bytes", source="loki-mode") for page in (first, second)]

    assert size > unread[0] > unread[1] or unread[1] == 0
    assert first.value("loki_session_status") == 1


class TestNumbers:
    """Numbers that no agent has."""

    @pytest.mark.parametrize(
        "number",
        ["1e308", "1e400", "1" + "0" * 400, str(2**70), "-1", "-1e308", "1" * 5000, "NaN", "Infinity"],
    )
    def test_are_absent_or_finite_wherever_they_stand(self, full: World, number: str) -> None:
        """Every number that is read, replaced by an absurd one, twice where numbers are summed."""
        full.page()
        full.advance(15)
        absurd = {
            "dashboard-state.json": '{"iteration": N, "running_agents": N, "total_agents": N, '
            '"pending_tasks": N}',
            "session.json": '{"status": "running", "pid": N}',
            "metrics/budget.json": '{"budget_limit": N, "budget_used": N}',
            "context/tracking.json": '{"totals": {"total_cost_usd": N, "compaction_count": N}, '
            '"current": {"context_window_pct": N}}',
            "pricing.json": '{"models": {"mine": {"input": N, "output": N}}}',
            "metrics/result-cost-2.json": '{"total_cost_usd": N}',
            "events.jsonl": '{"type": "iteration_start", "data": {"iteration": N}}\n'
            '{"type": "council_vote", "data": {"approve": N, "reject": N}}\n' * 2,
            "loki.pid": "N",
        }
        for path, text in absurd.items():
            full.write(path, text.replace("N", number))
        record = '{"iteration": N, "model": "mine", "cost_usd": N, "input_tokens": N, "cache_read_tokens": N}'
        for name in (1, 2):
            full.write(f"metrics/efficiency/iteration-{name}.json", record.replace("N", number))
        page = timed_page(full)

        assert page.value("tallyship_exporter_source_up", source="loki-mode") == 1
        assert "internal" not in page.errors
        assert all(abs(value) < float("inf") for value in page.values())
        assert not [
            key
            for key, value in page.items()
            if value < 0 and "budget" not in key and "tracked" not in key and "window" not in key
        ]


class TestNames:
    """Text that an agent chooses and that becomes a label."""

    @pytest.mark.parametrize(
        "text",
        [
            "a b\tc\nd\u2028e\x00f\x7fg",
            'quo"te\\back',
            "\ud800lone",
            "é" * 5000,
            "\u202eevil",
            '{x="1"} 5\nfake 1',
        ],
        ids=["blanks", "quotes", "surrogate", "long", "bidi", "injection"],
    )
    def test_makes_one_clean_label(self, full: World, text: str) -> None:
        """Models, gates, phases and project names: no blank, no line of their own, at most 128 characters."""
        full.state(
            version=text, phase=text, provider=text, project={"name": text}, qualityGates={text: "passed"}
        )
        full.write("metrics/efficiency/iteration-1.json", {"model": text, "cost_usd": 1, "input_tokens": 1})
        wanted = Wanted((str(full.root), str(full.root.parent / "none")))
        page = page_text(full.collector(wanted))

        assert "fake 1" not in page.splitlines()
        for line in page.splitlines():
            if not line.startswith("#"):
                assert len(line.split()) == 2, line
                assert len(line) < 128 * 12 + 200
        assert len([line for line in page.splitlines() if line.startswith("loki_mode_quality_gate")]) == 1

    def test_of_five_thousand_gates_are_twenty(self, full: World) -> None:
        """Gates that an agent invents do not multiply labels without end, and neither do their statuses."""
        full.state(qualityGates={f"gate {n}": f"status {n}" for n in range(5_000)})
        page = timed_page(full)

        assert len(page.of("loki_mode_quality_gate")) <= 21
        assert all('status="other"' in key for key in page.of("loki_mode_quality_gate"))

    def test_that_become_one_label_are_one_series(self, full: World) -> None:
        """`a b` and `a_b` are one label: two series of one name would take the page from Prometheus."""
        full.state(qualityGates={"a b": "passed", "a_b": "failed", "a\tb": "running"})
        for number, model in enumerate(("m x", "m_x", "M_X ")):
            full.write(f"metrics/efficiency/iteration-{number}.json", {"model": model, "cost_usd": 1})
        text = page_text(full.collector())
        series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]

        assert len(series) == len(set(series))


class TestMany:
    """Folders with more in them than anybody needs."""

    def test_receipts_do_not_exhaust_descriptors(self, full: World) -> None:
        """Thousands of receipt and session folders: one reading opens a bounded number of files at a time."""
        for number in range(1_500):
            full.write(f"proofs/p{number}/proof.json", {"honesty": {"headline": "VERIFIED"}})
        for number in range(300):
            full.write(f"sessions/s{number}/loki.pid", "1\n")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            page = timed_page(full)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert page.errors == {}
        assert page.value("loki_mode_receipts", verdict="verified") == 1_501

    def test_descriptors_are_given_back(self, full: World) -> None:
        """A hundred readings hold no more descriptors than one: the event log's."""
        full.page()
        held = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (a count)
        for _ in range(100):
            full.advance(15)
            full.page()

        assert len(os.listdir("/proc/self/fd")) == held  # noqa: PTH208

    def test_names_that_are_no_text_are_names(self, full: World) -> None:
        """Files and folders whose names are not UTF-8 or hold line breaks are read or refused like others."""
        root = os.fsencode(full.root)
        for folder in (b"sessions/\xff\n\x1b[2J", b"proofs/\xfe \xe2\x80\xa8"):
            Path(os.fsdecode(root + b"/" + folder)).mkdir()
        Path(os.fsdecode(root + b"/sessions/\xff\n\x1b[2J/loki.pid")).write_text("torn", "utf-8")
        Path(os.fsdecode(root + b"/proofs/\xfe \xe2\x80\xa8/proof.json")).write_text("torn", "utf-8")
        Path(os.fsdecode(root + b"/metrics/efficiency/iteration-\xff\n.json")).write_text("torn", "utf-8")
        page = timed_page(full)

        assert page.errors == {"torn": 3}
        assert "internal" not in page.errors
