from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loki_world import World

from exporter.files.document import ShapeError
from exporter.files.jsonvalue import TornJsonError
from exporter.sources.loki_mode.lists import parse_agents, parse_pid, parse_queue

TASK = {"id": "iteration-1", "type": "iteration"}


def tasks(world: World, status: str) -> float | None:
    """Return loki_tasks_total of a status."""
    return world.page().value("loki_tasks_total", status=status)


class TestTasks:
    """loki_tasks_total."""

    @pytest.mark.parametrize(
        ("text", "length"),
        [
            (b"[]", 0),
            (b'[{"id": 1}, {}, 3]', 3),
            (b'{"tasks": [1, 2]}', 2),
            (b'{"tasks": []}', 0),
            (b'\n [ {"a": "\xe9 latin"} ] \n', 1),
            (b"[NaN, 1]", 2),
        ],
    )
    def test_queue_is_a_list_or_an_object_with_one(self, text: bytes, length: int) -> None:
        """Both forms that writers use are counted, odd bytes or not."""
        assert parse_queue(text) == length

    @pytest.mark.parametrize("text", [b"", b" ", b"[", b'[{"id": ', b'{"tasks": [1', b"nope", b"\xff"])
    def test_a_torn_queue_is_torn(self, text: bytes) -> None:
        """Empty or cut short: the writer is not done."""
        with pytest.raises(TornJsonError):
            parse_queue(text)

    @pytest.mark.parametrize("text", [b"{}", b'{"tasks": 3}', b"null", b"7", b'"x"', b'{"tasks": {"a": 1}}'])
    def test_another_shape_is_no_queue(self, text: bytes) -> None:
        """Whole JSON that is neither form is refused rather than counted as something."""
        with pytest.raises(ShapeError):
            parse_queue(text)

    def test_queue_file_goes_before_the_states_copy(self, world: World) -> None:
        """The state is some seconds older than the queue it was pasted from."""
        world.state(tasks={"pending": [1, 2, 3], "inProgress": [1], "completed": [], "failed": [1]})
        world.write("queue/pending.json", [TASK])

        assert tasks(world, "pending") == 1
        assert tasks(world, "in_progress") == 1
        assert tasks(world, "failed") == 1

    def test_a_status_that_nobody_tells_is_absent(self, world: World) -> None:
        """A list that is missing or null is unknown, not empty."""
        world.state(tasks={"pending": [], "completed": None})
        page = world.page()

        assert page.of("loki_tasks_total") == {'{status="pending"}': 0}

    def test_an_emptied_queue_keeps_its_last_good_value(self, world: World) -> None:
        """The writer truncates and then writes: for 60 s the last good value stands, then none."""
        world.write("queue/in-progress.json", [TASK, TASK])
        assert tasks(world, "in_progress") == 2
        world.advance(15)
        world.write("queue/in-progress.json", b"")

        seen = []
        for _ in range(5):
            seen.append(tasks(world, "in_progress"))
            world.advance(15)
        assert seen == [2, 2, 2, 2, None]
        assert world.page().errors == {"torn": 1}

    def test_a_queue_torn_from_the_start_gives_way_to_the_state(self, world: World) -> None:
        """With no good value ever seen, the state's copy is better than nothing."""
        world.write("queue/pending.json", b"")
        world.state(tasks={"pending": [1, 2]})

        assert tasks(world, "pending") == 2

    def test_a_queue_that_is_gone_is_gone(self, world: World) -> None:
        """A file that was removed, unlike a torn one, has no last good value."""
        world.write("queue/failed.json", [TASK])
        world.page()
        world.remove("queue/failed.json")

        assert tasks(world, "failed") is None

    def test_the_other_queues_are_ours(self, world: World) -> None:
        """Review, blocked and dead-letter queues have a metric of their own."""
        for name, length in (("review", 1), ("blocked", 2), ("dead-letter", 3)):
            world.write(f"queue/{name}.json", [TASK] * length)

        assert world.page().of("loki_mode_queue_tasks") == {
            '{queue="review"}': 1,
            '{queue="blocked"}': 2,
            '{queue="dead_letter"}': 3,
        }

    def test_the_demo_writes_numbers(self, world: World) -> None:
        """The demo's state has plain counts under names of its own."""
        world.state(mode="demo", pending_tasks=6, completed_tasks="4", failed_tasks=-1)

        assert world.page().of("loki_tasks_total") == {'{status="pending"}': 6, '{status="completed"}': 4}


def agent(tool_id: str | None, status: str = "active", **more: Any) -> dict[str, Any]:
    """Return an entry of agents.json."""
    return {"agent_id": "same-for-all", "tool_id": tool_id, "status": status, **more}


TWO_OF_THREE = [agent("a"), agent("b", "completed"), agent("c")]


class TestAgents:
    """loki_agents_active and loki_agents_total."""

    @staticmethod
    def counts(world: World) -> tuple[float | None, float | None]:
        """Return active and registered agents."""
        page = world.page()
        return page.value("loki_agents_active"), page.value("loki_agents_total")

    def test_are_counted_once_by_tool_id(self) -> None:
        """agent_id is not unique; of two entries with one tool_id the later one tells the status."""
        assert parse_agents(b'[{"tool_id":"x","status":"active"},{"tool_id":"x","status":"crashed"}]') == (
            0,
            1,
        )
        assert parse_agents(b'[{"agent_id":"1","status":"active"},{"agent_id":"1"}]') == (1, 2)
        assert parse_agents(b'[{"tool_id":"","status":"active"},{"tool_id":7,"status":"active"}]') == (2, 2)

    def test_oddities_do_no_harm(self) -> None:
        """Entries that are no objects count for nothing; the object form is read as its values."""
        assert parse_agents(b'[1, null, "x", [], {"status": {"a": 1}}]') == (0, 1)
        assert parse_agents(b'{"one": {"status": "active"}}') == (1, 1)
        assert parse_agents(b"{}") == (0, 0)
        with pytest.raises(ShapeError):
            parse_agents(b"null")

    def test_an_empty_list_holds_the_last_good_one_while_the_pid_lives(self, world: World) -> None:
        """A second writer flips the file to []; scrapes come every 15 s, so the list stands for 60 s."""
        world.runner()
        world.write("state/agents.json", TWO_OF_THREE)
        assert self.counts(world) == (2, 3)

        seen = []
        for _ in range(5):
            world.advance(15)
            world.write("state/agents.json", [])
            seen.append(self.counts(world))
        assert seen == [(2, 3)] * 4 + [(0, 0)]

    def test_an_empty_text_holds_the_last_good_one_too(self, world: World) -> None:
        """The same for the moment between truncating and writing."""
        world.runner()
        world.write("state/agents.json", TWO_OF_THREE)
        world.page()
        world.advance(30)
        world.write("state/agents.json", b"")

        assert self.counts(world) == (2, 3)

    def test_the_real_list_between_two_empty_ones_starts_the_time_anew(self, world: World) -> None:
        """Each sight of the list renews its 60 s."""
        world.runner()
        for _ in range(4):
            world.write("state/agents.json", TWO_OF_THREE)
            world.page()
            world.advance(40)
            world.write("state/agents.json", [])
            assert self.counts(world) == (2, 3)
            world.advance(15)

    def test_an_empty_list_holds_the_last_good_one_in_a_container_too(self, tmp_path: Path) -> None:
        """Where pids cannot be seen, the freshness of the state says that the session lasts."""
        world = World(tmp_path / ".loki", pids_visible=False)
        world.write("loki.pid", "1\n")
        world.state(mode="autonomous")
        world.write("state/agents.json", TWO_OF_THREE)
        assert self.counts(world) == (2, 3)

        world.advance(15)
        world.state(mode="autonomous")
        world.write("state/agents.json", [])
        held = self.counts(world)
        world.advance(31)
        ended = self.counts(world)
        world.close()

        assert held == (2, 3)
        assert ended == (0, 0)

    def test_an_empty_list_is_empty_once_the_pid_is_dead(self, world: World) -> None:
        """The hold is for a living runner; afterwards what is written counts."""
        world.runner()
        world.write("state/agents.json", TWO_OF_THREE)
        world.page()
        world.advance(15)
        world.write("state/agents.json", [])
        world.live.clear()

        assert self.counts(world) == (0, 0)

    def test_nobody_is_active_in_a_stopped_session(self, world: World) -> None:
        """A killed session leaves agents behind that call themselves active."""
        world.runner()
        world.write("state/agents.json", TWO_OF_THREE)
        world.live.clear()

        assert self.counts(world) == (0, 3)

    def test_come_from_the_state_without_a_file_of_their_own(self, world: World) -> None:
        """The state has a copy of the list."""
        world.runner()
        world.state(agents=TWO_OF_THREE)

        assert self.counts(world) == (2, 3)

    def test_are_absent_when_torn_from_the_start(self, world: World) -> None:
        """Nothing good was ever seen: unknown is not 0."""
        world.runner()
        world.write("state/agents.json", b"[")

        assert self.counts(world) == (None, None)


@pytest.mark.parametrize(("text", "pid"), [(b"12\n", 12), (b"0", 0), (b"-1\n", -1), (b"\0\0 7\r\n", 7)])
def test_pid_is_a_decimal_number(text: bytes, pid: int) -> None:
    """A pid file holds one number; nonsensical ones are left to the verdict."""
    assert parse_pid(text) == pid


class TestTheStatesCopy:
    """What stands in for `agents.json` at the first reading, when there is nothing to remember."""

    @pytest.mark.parametrize("content", ["", "[]", '[{"tool_id": "a", "sta'])
    def test_an_empty_or_torn_list_of_a_live_session_is_taken_from_the_state(
        self, world: World, content: str
    ) -> None:
        """The file flips between the list and nothing; the state's copy is seconds old."""
        world.runner()
        world.state(agents=[{"tool_id": "a", "status": "active"}, {"tool_id": "b", "status": "completed"}])
        world.write("state/agents.json", content)
        page = world.page()

        assert (page.value("loki_agents_active"), page.value("loki_agents_total")) == (1, 2)

    def test_an_empty_list_with_an_empty_copy_is_no_agents(self, world: World) -> None:
        """Both agree: nobody is there."""
        world.runner()
        world.state(agents=[])
        world.write("state/agents.json", "[]")

        assert world.page().value("loki_agents_total") == 0

    def test_a_stopped_session_has_its_own_list(self, world: World) -> None:
        """The copy of a state that nobody writes any more stands in for nothing."""
        world.state(age_s=900, agents=[{"tool_id": "a", "status": "active"}])
        world.write("state/agents.json", "[]")

        assert world.page().value("loki_agents_total") == 0

    def test_agents_of_a_killed_session_are_not_those_of_the_next(self, world: World) -> None:
        """Left behind in the list, in the state's copy, and in what was remembered: none is at work now."""
        left = [{"tool_id": "a", "status": "active"}]
        world.write("state/agents.json", left, age_s=7_200)
        world.state(age_s=7_200, agents=left)
        before = world.page()
        world.advance(10)
        world.runner(age_s=5)
        world.write("state/agents.json", "[]", age_s=1)

        assert (before.value("loki_agents_active"), before.value("loki_agents_total")) == (0, 1)
        assert (world.page().value("loki_agents_active"), world.page().value("loki_agents_total")) == (0, 0)

    def test_an_old_list_is_nobodys_while_the_new_session_has_none(self, world: World) -> None:
        """v9's other runner writes no agents: what an earlier session left is not its list."""
        world.write("state/agents.json", [{"tool_id": "a", "status": "active"}], age_s=7_200)
        world.runner(age_s=5)

        assert world.page().value("loki_agents_active") is None
