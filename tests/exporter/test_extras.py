from __future__ import annotations

from typing import Any

import pytest
from loki_world import World

from exporter.files.document import ShapeError
from exporter.files.jsonvalue import (
    TornJsonError,
    as_count,
    as_number,
    as_text,
    as_time,
    parse_json,
)
from exporter.sources.loki_mode.extras import Receipt, parse_receipt, parse_session_info
from exporter.sources.loki_mode.state import parse_state
from shared.models import label_value


class TestAbsence:
    """What a file of that version does not hold is absent, not 0."""

    def test_of_everything_but_what_is_certain(self, world: World) -> None:
        """An empty directory tells: stopped, no event, no uptime, the default limit, and nothing else."""
        page = world.page()

        assert {key: value for key, value in page.items() if key.startswith("loki_")} == {
            "loki_session_status": 0,
            "loki_iteration_max": 1000,
            "loki_events_total": 0,
            "loki_uptime_seconds": 0,
        }

    @pytest.mark.parametrize(
        "path",
        [
            *("dashboard-state.json", "session.json", "state/orchestrator.json", "metrics/budget.json"),
            *("context/tracking.json", "pricing.json"),
        ],
    )
    def test_of_what_an_empty_object_does_not_say(self, world: World, path: str) -> None:
        """`{}` is a whole file that tells nothing, and no error."""
        without = {key for key in world.page() if key.startswith("loki_")}
        world.advance(15)
        world.write(path, {})
        page = world.page()

        assert page.errors == {}
        assert {key for key in page if key.startswith("loki_")} <= without


class TestBudget:
    """metrics/budget.json."""

    def test_has_limit_use_and_whether_it_is_exceeded(self, world: World) -> None:
        """The three as they stand there; `limit` is the older name of `budget_limit`."""
        world.write("metrics/budget.json", {"limit": 9, "budget_used": "2.5", "exceeded": True})
        page = world.page()

        assert page.value("loki_mode_budget_limit_usd") == 9
        assert page.value("loki_mode_budget_used_usd") == 2.5
        assert page.value("loki_mode_budget_exceeded") == 1

    def test_without_a_verdict_has_none(self, world: World) -> None:
        """A file without `exceeded`, or with something else there, does not say 0."""
        world.write("metrics/budget.json", {"budget_limit": 5, "limit": 9, "exceeded": "no"})
        page = world.page()

        assert page.value("loki_mode_budget_limit_usd") == 5
        assert page.value("loki_mode_budget_used_usd") is None
        assert page.value("loki_mode_budget_exceeded") is None

    @pytest.mark.parametrize("amount", [-1, "NaN", None, True, [], "much"])
    def test_has_no_absurd_amounts(self, world: World, amount: object) -> None:
        """A negative amount, or none at all, is unknown."""
        world.write("metrics/budget.json", {"budget_limit": amount, "budget_used": amount})

        assert not world.page().of("loki_mode_budget_limit_usd")


class TestTracking:
    """context/tracking.json."""

    def test_has_the_total_over_all_sessions(self, world: World) -> None:
        """Loki Mode's own estimate, the part of the window in use, and compactions."""
        world.write(
            "context/tracking.json",
            {
                "totals": {"total_cost_usd": 7.2915, "compaction_count": 2},
                "current": {"context_window_pct": 49.8},
            },
        )
        page = world.page()

        assert page.value("loki_mode_tracked_cost_usd") == 7.2915
        assert page.value("loki_mode_context_compactions") == 2
        assert page.value("loki_mode_context_window_ratio") == 0.498

    def test_is_no_part_of_the_cost(self, world: World) -> None:
        """loki_cost_usd is of the records; the estimate has a name of its own."""
        world.write("context/tracking.json", {"totals": {"total_cost_usd": 7.2915}})

        assert world.page().value("loki_cost_usd") is None


class TestInfo:
    """loki_mode_session_info."""

    def test_has_what_is_known(self, world: World) -> None:
        """The state's word before the smaller files', and only labels that somebody tells."""
        world.write("state/orchestrator.json", {"version": "9.22.12", "currentPhase": "BOOTSTRAP"})
        world.write("state/provider", " codex\n")
        assert world.page().of("loki_mode_session_info") == {
            '{phase="BOOTSTRAP",provider="codex",version="9.22.12"}': 1
        }
        world.advance(15)
        world.state(phase="QA", provider="claude")

        assert world.page().of("loki_mode_session_info") == {
            '{phase="QA",provider="claude",version="9.22.12"}': 1
        }

    def test_is_one_series_whatever_changes(self, world: World) -> None:
        """A phase that changes replaces the series."""
        for phase in ("A", "B"):
            world.state(phase=phase)
            assert world.page().of("loki_mode_session_info") == {f'{{phase="{phase}"}}': 1}
            world.advance(15)


class TestGates:
    """loki_mode_quality_gate."""

    def test_have_one_status_each(self, world: World) -> None:
        """1 for the status it has; a status that nobody knows is `other`."""
        world.state(qualityGates={"tests": "passed", "lint": "exploded", "odd": 3})

        assert world.page().of("loki_mode_quality_gate") == {
            '{gate="tests",status="passed"}': 1,
            '{gate="lint",status="other"}': 1,
        }


class TestReceipts:
    """proofs/*/proof.json of v9."""

    def test_are_counted_by_verdict_and_provenance(self, world: World) -> None:
        """All verdicts from the first receipt on; a torn one is not counted, but an error."""
        headlines = ["VERIFIED", "VERIFIED", "VERIFIED WITH GAPS", "NOT VERIFIED", "?", None, 7]
        for number, headline in enumerate(headlines):
            world.write(
                f"proofs/{number}/proof.json",
                {
                    "honesty": {"headline": headline},
                    "verification": {"gpg_signature": "x"} if number < 2 else {},
                },
            )
        world.write("proofs/torn/proof.json", b'{"honesty": ')
        world.write("proofs/index.json", {})
        page = world.page()

        assert page.of("loki_mode_receipts") == {
            '{verdict="verified"}': 2,
            '{verdict="with_gaps"}': 1,
            '{verdict="not_verified"}': 1,
            '{verdict="unknown"}': 3,
        }
        assert page.value("loki_mode_receipts_with_provenance", kind="gpg") == 2
        assert page.value("loki_mode_receipts_with_provenance", kind="attestation") == 0
        assert page.errors == {"torn": 1}

    def test_are_absent_where_the_version_keeps_none(self, world: World) -> None:
        """No folder, no numbers; an empty one means none."""
        assert not world.page().of("loki_mode_receipts")
        (world.root / "proofs").mkdir()

        assert world.page().value("loki_mode_receipts", verdict="verified") == 0

    def test_that_go_are_not_counted_any_more(self, world: World) -> None:
        """Receipts on disk are a gauge."""
        for number in range(3):
            world.write(f"proofs/{number}/proof.json", {})
        world.page()
        world.remove("proofs/1")

        assert world.page().value("loki_mode_receipts", verdict="unknown") == 2

    def test_of_any_shape_are_read(self) -> None:
        """Odd parts of a receipt are unknown; no object is no receipt."""
        assert parse_receipt(b'{"honesty": [], "verification": 3}') == Receipt("unknown", ())
        with pytest.raises(ShapeError):
            parse_receipt(b"[]")


class TestMtimes:
    """tallyship_exporter_source_mtime_seconds."""

    def test_are_of_files_that_parsed(self, world: World) -> None:
        """A file that is broken does not look fresh, also while its last good value stands."""
        world.write("metrics/budget.json", {"budget_limit": 5}, age_s=7)
        name = "tallyship_exporter_source_mtime_seconds"
        good = world.page().value(name, source="loki-mode", file="metrics/budget.json")
        world.advance(15)
        world.write("metrics/budget.json", b"{")
        held = world.page()

        assert good == world.now_s - 22
        assert held.value(name, source="loki-mode", file="metrics/budget.json") is None
        assert held.value("loki_mode_budget_limit_usd") == 5

    def test_of_a_folder_is_its_youngest_records(self, world: World) -> None:
        """One series for all efficiency records: thousands of them do not make thousands of series."""
        for age_s in (50, 5, 500):
            world.write(f"metrics/efficiency/iteration-{age_s}.json", {}, age_s=age_s)
        world.write("metrics/efficiency/iteration-9.json", b"{", age_s=1)
        mtimes = world.page().of("tallyship_exporter_source_mtime_seconds")

        assert mtimes == {'{file="metrics/efficiency",source="loki-mode"}': world.now_s - 5}


class TestHold:
    """A torn file keeps its last good value, 60 s by default."""

    @pytest.mark.parametrize(("keep_s", "expected"), [(60.0, [5, 5, 5, None]), (25.0, [5, None, None, None])])
    def test_is_configurable(self, tmp_path: Any, keep_s: float, expected: list[float | None]) -> None:
        """The value stands as long as it is told to, and is then absent, not 0."""
        world = World(tmp_path / ".loki", keep_s=keep_s)
        world.write("metrics/budget.json", {"budget_limit": 5})
        world.page()
        seen = []
        for _ in range(4):
            world.advance(20)
            world.write("metrics/budget.json", b"")
            seen.append(world.page().value("loki_mode_budget_limit_usd"))
        world.close()

        assert seen == expected

    def test_counts_each_damage(self, world: World) -> None:
        """Torn, whole and torn again are two damages; torn for long is one."""
        seen = []
        for text in (b"{", b"{}", b"{ "):
            world.write("metrics/budget.json", text)
            for _ in range(3):
                world.advance(15)
                seen.append(world.page().errors.get("torn", 0))

        assert seen == [1, 1, 1, 1, 1, 1, 2, 2, 2]

    def test_ends_with_the_next_good_reading(self, world: World) -> None:
        """The new value stands at once."""
        world.write("metrics/budget.json", {"budget_limit": 5})
        world.page()
        world.write("metrics/budget.json", b"")
        world.page()
        world.write("metrics/budget.json", {"budget_limit": 6})

        assert world.page().value("loki_mode_budget_limit_usd") == 6


class TestValues:
    """What others wrote, turned into what we mean."""

    @pytest.mark.parametrize(
        ("value", "number"),
        [
            (1, 1.0), ("1.5", 1.5), (" 2 ", 2.0), (-3, -3.0), (True, None), (None, None), ("x", None),
            (float("nan"), None), ("inf", None), (10**400, None), ([], None), ({}, None), ("", None),
        ],
        ids=ascii,
    )  # fmt: skip
    def test_number(self, value: object, number: float | None) -> None:
        """Finite, also from text, never from a boolean."""
        assert as_number(value) == number

    @pytest.mark.parametrize(
        ("value", "count"),
        [(0, 0), ("7", 7), (2.0, 2), (2.5, None), (-1, None), (2**70, None), (False, None), ("1e3", 1000)],
    )
    def test_count(self, value: object, count: int | None) -> None:
        """Whole, not negative, not absurd."""
        assert as_count(value) == count

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("1970-01-01T00:00:10Z", 10.0),
            ("1970-01-01T01:00:10+01:00", 10.0),
            ("1970-01-01T00:00:10", 10.0),
            ("1970-01-01T00:00:10.5Z", 10.5),
            ("", None), ("None", None), (None, None), (10, None),
            ("9999-99-99T00:00:00Z", None), ("\ud800", None),
        ],
        ids=ascii,
    )  # fmt: skip
    def test_time(self, value: object, seconds: float | None) -> None:
        """RFC 3339, without a zone UTC, else nothing."""
        assert as_time(value) == seconds

    def test_text(self) -> None:
        """Non-blank text or nothing."""
        assert [as_text(value) for value in ("a", " ", "", None, 3)] == ["a", None, None, None, None]

    @pytest.mark.parametrize(("text", "value"), [(b'{"a": NaN}', None), (b'"\xe9"', "\ufffd"), (b"[1]", [1])])
    def test_json_of_tolerant_writers(self, text: bytes, value: object) -> None:
        """NaN, which Python writes, and bytes that are no UTF-8 do not make a file unreadable."""
        read = parse_json(text)

        assert read == value or (isinstance(read, dict) and as_number(read["a"]) is None)

    @pytest.mark.parametrize(
        "text", [b"", b"{", b"nul", b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5_000 + b"x"]
    )
    def test_json_that_is_none(self, text: bytes) -> None:
        """Cut short, too deep or never any: one kind of error."""
        with pytest.raises(TornJsonError):
            parse_json(text)

    def test_label(self) -> None:
        """No blanks, no control characters, no lone surrogates, at most 128 characters."""
        assert label_value("  a \t\n b\x00c\u2028d\ud800e ") == "a_b_c_d\ufffde"
        assert len(label_value("x" * 5_000)) == 128


class TestState:
    """dashboard-state.json."""

    def test_of_odd_types_tells_what_it_can(self) -> None:
        """Each field for itself: a wrong type costs that field."""
        state = parse_state(
            b'{"mode": 3, "timestamp": [], "iteration": "4", "project": "x", "tasks": [], "agents": {}, '
            b'"qualityGates": [], "version": {}, "phase": "QA", "total_agents": 3}'
        )

        assert (state.mode, state.timestamp_s, state.iteration, state.project) == (None, None, 4, None)
        assert (state.tasks, state.agents, state.agent_counts) == ({}, None, None)
        assert (state.version, state.phase) == (None, "QA")

    @pytest.mark.parametrize("text", [b"[]", b"null", b"3", b'"x"'])
    def test_of_another_shape_is_none(self, text: bytes) -> None:
        """Whole JSON that is no object."""
        with pytest.raises(ShapeError):
            parse_state(text)

    def test_session_json_has_two_spellings(self) -> None:
        """`startedAt` in skill mode, `started` in the demo."""
        assert parse_session_info(b'{"startedAt": "1970-01-01T00:00:10Z"}').started_s == 10
        assert parse_session_info(b'{"started": "1970-01-01T00:00:20Z", "pid": "7"}').pid == 7
