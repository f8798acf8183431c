"""A project with every file that the exporter reads, and what an agent could put in the place of each."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from loki_world import Page, World, environ_of

DEPENDS_ON = {
    "dashboard-state.json": (
        "loki_iteration_current",
        "loki_mode_session_info",
        "loki_mode_quality_gate",
        "loki_mode_council_votes",
    ),
    "session.json": (),
    "state/orchestrator.json": (),
    "state/provider": (),
    "state/agents.json": ("loki_agents_",),
    "queue/pending.json": ("loki_tasks_total",),
    "queue/in-progress.json": ("loki_tasks_total",),
    "queue/completed.json": ("loki_tasks_total",),
    "queue/failed.json": ("loki_tasks_total",),
    "queue/review.json": ("loki_mode_queue_tasks",),
    "queue/blocked.json": ("loki_mode_queue_tasks",),
    "queue/dead-letter.json": ("loki_mode_queue_tasks",),
    "metrics/budget.json": ("loki_mode_budget_",),
    "metrics/efficiency/iteration-1.json": ("loki_cost_usd", "loki_mode_model_cost_usd", "loki_mode_tokens"),
    "metrics/result-cost-2.json": ("loki_cost_usd", "loki_mode_model_cost_usd"),
    "context/tracking.json": ("loki_mode_tracked_cost_usd", "loki_mode_context_"),
    "pricing.json": ("loki_cost_usd", "loki_mode_model_cost_usd"),
    "proofs/one/proof.json": ("loki_mode_receipts",),
    "loki.pid": (
        "loki_session_status",
        "loki_iteration_",
        "loki_uptime_seconds",
        "loki_agents_",
    ),
    "sessions/one/loki.pid": (),
    "events.jsonl": (
        "loki_events_total",
        "loki_mode_events_total",
        "loki_mode_iteration",
        "loki_mode_council_votes",
        "loki_iteration_current",
        "loki_uptime_seconds",
    ),
}
"""Every file that is read (exporter/sources/loki_mode/files.py), and the metrics that it alone may change."""

RUNNER = 4242


def fill(world: World) -> None:
    """Write all of the files, each of them good, with a session that runs."""
    world.runner(RUNNER, process=environ_of(LOKI_MAX_ITERATIONS="9"))
    world.write("sessions/one/loki.pid", "4343\n", age_s=60)
    world.event("session_start", age_s=55)
    world.event("iteration_start", age_s=50, iteration=1)
    world.event("iteration_complete", age_s=30, iteration=1, status="completed")
    world.event("iteration_start", age_s=20, iteration=2)
    world.state(
        mode="autonomous",
        iteration=2,
        version="9.22.12",
        phase="DEVELOPMENT",
        provider="claude",
        startedAt=world.time(70),
        qualityGates={"tests": "passed"},
        tasks={"pending": [1] * 5, "inProgress": [1] * 5, "completed": [1] * 5, "failed": [1] * 5},
    )
    world.write("session.json", {"status": "running", "startedAt": world.time(9)}, age_s=9)
    world.write("state/orchestrator.json", {"version": "9.22.12", "currentPhase": "DEVELOPMENT"}, age_s=9)
    world.write("state/provider", "claude\n", age_s=9)
    world.write("state/agents.json", [{"tool_id": "a", "status": "active"}, {"tool_id": "b"}], age_s=9)
    for length, path in enumerate(path for path in DEPENDS_ON if path.startswith("queue/")):
        world.write(path, [{"id": n} for n in range(length)], age_s=9)
    world.write("metrics/budget.json", {"budget_limit": 25, "budget_used": 2.5, "exceeded": False}, age_s=9)
    record = {"model": "mine", "input_tokens": 1000, "output_tokens": 10}
    world.write("metrics/efficiency/iteration-1.json", {"iteration": 1, "cost_usd": 1.5, **record}, age_s=9)
    world.write("metrics/efficiency/iteration-2.json", {"iteration": 2, "cost_usd": 0, **record}, age_s=9)
    world.write("metrics/efficiency/iteration-3.json", {"iteration": 3, "cost_usd": 0, **record}, age_s=9)
    world.write("metrics/result-cost-2.json", {"total_cost_usd": 0.25}, age_s=9)
    world.write("pricing.json", {"models": {"mine": {"input": 1000, "output": 0}}}, age_s=9)
    tracking = {
        "totals": {"total_cost_usd": 7.5, "compaction_count": 1},
        "current": {"context_window_pct": 40},
    }
    world.write("context/tracking.json", tracking, age_s=9)
    world.write("proofs/one/proof.json", {"honesty": {"headline": "VERIFIED"}}, age_s=9)


def untouched(page: Page, path: str) -> dict[str, float]:
    """Return the numbers of a page that the file at `path` has no part in; nothing of the exporter itself."""
    theirs = ("tallyship_exporter_", "loki_uptime_seconds", *DEPENDS_ON[path])  # time passes between pages
    return {key: value for key, value in page.items() if not key.startswith(theirs)}


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    # Bound by a short relative name: the path of a socket has room for 108 bytes only.
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(before)


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_text("x", "utf-8")


def _outside(path: Path) -> Path:
    """Return a whole, good file that lies beside the project's directory."""
    root = next(parent for parent in path.parents if parent.name == ".loki")
    outside = root.parent / "outside.json"
    outside.write_text("{}", "utf-8")
    return outside


def _link_out(path: Path) -> None:
    path.symlink_to(_outside(path))


def _link_out_relative(path: Path) -> None:
    path.symlink_to(os.path.relpath(_outside(path), path.parent))


def _link_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _link_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


def _deep_list(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def _deep_object(path: Path) -> None:
    path.write_bytes(b'{"tasks":' * 100_000 + b"1" + b"}" * 100_000 + b"\n")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


PLACEMENTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "FIFO": (_fifo, {"not_regular"}),
    "socket": (_socket, {"not_regular"}),
    "directory": (_directory, {"not_regular"}),
    "symlink out of the tree": (_link_out, {"symlink"}),
    "relative symlink out of the tree": (_link_out_relative, {"symlink"}),
    "symlink to a device": (_link_to_zero, {"symlink"}),
    "dangling symlink": (_link_dangling, {"missing", ""}),
    "symlink loop": (_link_loop, {"symlink"}),
    "1 GB file": (_sparse, {"too_large"}),
    "100,000-deep list": (_deep_list, {"torn", "too_large"}),
    "100,000-deep object": (_deep_object, {"torn", "too_large"}),
    "empty file": (_empty, {"torn"}),
    "binary file": (_binary, {"torn", "too_large"}),
}
"""What is put there, and the reasons one of which must be counted; `""`: perhaps none at all."""
