"""The program as a process: what it prints, how it ends, what it serves."""

from __future__ import annotations

import json
import pathlib
import signal
import time
from collections.abc import Iterator

import pytest
from certificates import authority
from gateway import Gateway, Proxy, client_files, server_context
from programs import WITHIN_S, Program, page
from receiver import Answer, Receiver

from shared import healthcheck
from shipper.keeping.lock import Lock


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Return a Loki on a real socket."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def program(tmp_path: pathlib.Path, receiver: Receiver) -> Iterator[Program]:
    """Return a program; what it started is ended."""
    made = Program(tmp_path, receiver)
    yield made
    made.end()


def test_once_sends_everything_and_again_sends_nothing(program: Program) -> None:
    """Exit 0 each time; an unfinished last line waits."""
    program.write("a.jsonl", 2000)
    with (program.logs / "a.jsonl").open("a") as file:
        file.write('{"half":')

    first = program.call("run", "--once")
    pushes = program.receiver.pushes
    second = program.call("run", "--once")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert program.arrived() == 2000
    assert program.receiver.pushes == pushes
    assert program.receiver.model.problems == []


def test_once_without_a_loki_ends_with_3_and_keeps_the_lines(program: Program) -> None:
    """They are sent by the next run."""
    program.write("a.jsonl", 3)
    program.receiver.script = lambda _request: Answer(503)

    failed = program.call("run", "--once", "--once-timeout", "1s")
    program.receiver.script = None
    done = program.call("run", "--once")

    assert (failed.returncode, done.returncode) == (3, 0), failed.stderr
    assert program.arrived() == 3


def test_a_running_shipper_sees_new_directories_and_files_at_once(program: Program) -> None:
    """Deep ones too, and long before the next rescan."""
    program.start()
    began = time.monotonic()
    program.write("x/y/z/deep.jsonl", 5)
    program.write("flat.jsonl", 5)
    program.until(lambda: program.arrived() == 10, "both have arrived")

    assert time.monotonic() - began < 5.0


def test_sigterm_flushes_what_was_read_and_ends_with_0(program: Program) -> None:
    """Also with a batch that would have waited for minutes."""
    program.start("--batch-wait", "10m")
    program.write("a.jsonl", 20)
    time.sleep(1.0)
    assert program.arrived() == 0
    program.running[0].send_signal(signal.SIGTERM)

    assert program.running[0].wait(timeout=WITHIN_S) == 0
    assert program.arrived() == 20
    assert "everything_acknowledged=True" in program.log.read_text()


def test_sigterm_without_a_loki_warns_and_the_next_start_sends_it(program: Program) -> None:
    """Within the time-out, and nothing is lost."""
    program.receiver.script = lambda _request: Answer(503)
    program.start("--shutdown-timeout", "500ms")
    program.write("a.jsonl", 20)
    time.sleep(0.5)
    program.running[0].send_signal(signal.SIGTERM)

    assert program.running[0].wait(timeout=WITHIN_S) == 0
    assert "stopped_with_unacknowledged_lines" in program.log.read_text()
    program.receiver.script = None
    assert program.call("run", "--once").returncode == 0
    assert program.arrived() == 20


def test_a_second_sigterm_leaves_at_once(program: Program) -> None:
    """As safe as SIGKILL."""
    program.receiver.script = lambda _request: Answer(503)
    program.start()
    program.write("a.jsonl", 20)
    time.sleep(0.5)
    program.running[0].send_signal(signal.SIGTERM)
    program.until(lambda: "event=stopping" in program.log.read_text(), "it is stopping")
    program.running[0].send_signal(signal.SIGTERM)

    assert program.running[0].wait(timeout=5) == 128 + signal.SIGTERM


def test_two_shippers_on_one_state_directory_are_one_too_many(program: Program) -> None:
    """The second says who is there, and ends with 2."""
    program.start()
    second = program.call("run", "--listen-address", "")

    assert second.returncode == 2
    assert f"pid {program.running[0].pid}" in second.stderr


def test_health_tells_the_truth(program: Program) -> None:
    """ok, then failing with the reason while Loki refuses the credentials, then ok again."""
    address = program.start()
    program.write("a.jsonl", 3)
    program.until(lambda: program.arrived() == 3, "the lines have arrived")
    program.until(
        lambda: json.loads(page(address, "/health/loki")[1])["entries_sent"] == 3, "they are counted"
    )
    status, text = page(address, "/health/loki")
    assert (status, list(json.loads(text))[:5]) == (
        200,
        ["status", "entries_sent", "entries_dropped", "last_error", "last_error_time"],
    )
    assert json.loads(text)["status"] == "ok"
    program.receiver.script = lambda _request: Answer(401, "no")
    program.write("a.jsonl", 1)
    program.until(lambda: page(address, "/health")[0] == 503, "it fails")
    found = json.loads(page(address, "/health/loki")[1])
    report = healthcheck.probe(f"http://{address}/health")

    assert found["status"] == "failing"
    assert "401" in found["last_error"]
    assert isinstance(report, healthcheck.Report)
    assert report.component == "shipper"


def test_the_pages_are_there_and_counters_start_at_0(program: Program) -> None:
    """And an unknown one says which there are."""
    address = program.start()
    program.until(lambda: page(address, "/-/ready")[0] == 200, "it is ready")
    status, text = page(address, "/metrics")

    assert status == 200
    assert page(address, "/-/healthy") == (200, "healthy\n")
    assert page(address, "/nothing")[0] == 404
    for name in (
        "entries_sent_total",
        'dead_lettered_total{reason="line_too_long"}',
        'lost_bytes_total{reason="truncated"}',
    ):
        assert f"tallyship_shipper_{name} 0.0" in text


def test_a_mute_client_does_not_hold_up_the_others(program: Program) -> None:
    """Connections that say nothing cost a thread each, and there are answers beside them."""
    import socket  # noqa: PLC0415 - only here

    address = program.start()
    host, port = address.rsplit(":", 1)
    mute = [socket.create_connection((host, int(port))) for _ in range(5)]
    try:
        assert page(address, "/-/healthy")[0] == 200
    finally:
        for one in mute:
            one.close()


def test_status_and_positions_show_how_far_it_is(program: Program) -> None:
    """For people and, with --json, for scripts."""
    address = program.start()
    program.write("a.jsonl", 3)
    size = (program.logs / "a.jsonl").stat().st_size

    def settled() -> bool:
        rows = json.loads(program.call_plain("positions", "--json").stdout)["files"]
        return bool(rows) and rows[0]["settled"] == size

    program.until(settled, "the positions are saved")
    program.until(lambda: page(address, "/-/ready")[0] == 200, "it is ready")
    shown: list[str] = []

    def told() -> bool:
        shown.append(program.call_plain("status", "--address", address).stdout)
        return "3 lines" in shown[-1]

    program.until(told, "the status says so")
    table = program.call_plain("positions").stdout

    assert "last error    none" in shown[-1]
    assert json.loads(program.call_plain("status", "--json", "--address", address).stdout)["files"] == 1
    assert "\x1b" not in shown[-1]
    assert str(program.logs / "a.jsonl") in table


def test_dry_run_shows_lines_and_saves_and_sends_nothing(program: Program) -> None:
    """Not even a state directory is made."""
    program.write("a.jsonl", 2)
    done = program.call("dry-run")

    assert done.returncode == 0
    assert "a.jsonl 1" in done.stdout
    assert 'app="jsonl"' in done.stdout
    assert program.receiver.pushes == 0
    assert not program.state.exists()


def test_check_finds_what_is_wrong(program: Program) -> None:
    """Exit 0 when all is well, 1 when Loki does not answer, 2 for a wrong configuration."""
    program.write("a.jsonl", 1)
    good = program.call("check")
    program.receiver.close()
    bad = program.call("check")
    wrong = program.call("check", "--batch-bytes", "many", "--batch-wait", "long")

    assert (good.returncode, bad.returncode, wrong.returncode) == (0, 1, 2)
    assert "1 files" in good.stdout
    assert wrong.stderr.count("configuration:") == 2


@pytest.mark.parametrize(("value", "code", "words"), [("false", 0, "switched off"), ("true", 0, "twice")])
def test_llm_proxys_own_switch_is_understood(program: Program, value: str, code: int, words: str) -> None:
    """false: nothing is shipped; true: it ships, and warns that the proxy does so too."""
    program.write("a.jsonl", 1)
    done = program.call("run", "--once", env={"LLM_PROXY_LOKI_ENABLED": value})

    assert done.returncode == code
    assert words in done.stderr
    assert program.arrived() == (1 if value == "true" else 0)


def test_secrets_are_masked_unless_somebody_says_no(program: Program) -> None:
    """By default, counted by rule; own rules come from the file."""
    key = "sk-ant-api03-" + "Ab3" * 31 + "-AA"
    file = program.state.parent / "c.toml"
    file.write_text("[[redact]]\nname = 'ticket'\npattern = 'TCK-[0-9]{8}'\n")
    program.write("a.jsonl", 1)
    with (program.logs / "a.jsonl").open("a") as out:
        out.write(json.dumps({"text": f"{key} TCK-12345678"}) + "\n")
    shown = program.call("dry-run", "--config", str(file)).stdout
    bare = program.call("dry-run", "--no-redact").stdout
    address = program.start("--config", str(file))
    program.until(lambda: program.arrived() == 2, "the lines have arrived")
    metrics = page(address, "/metrics")[1]

    assert key in bare
    assert "TCK-12345678" in bare
    for text in (shown, *program.receiver.model.lines()):
        assert key not in text
        assert "TCK-12345678" not in text
    assert 'tallyship_shipper_redactions_total{rule="ticket"} 1.0' in metrics


def test_flags_and_environment_lead_through_a_proxy_to_a_loki_that_wants_a_certificate(
    program: Program, tmp_path: pathlib.Path
) -> None:
    """From the command line to the wire, for `run` and `check`; no password is in what they print."""
    authority().write(tmp_path)
    cert, key = client_files(tmp_path, "shipper.example", authority(1))
    gateway = Gateway(context=server_context("loki.example", wants_clients_of=authority(1)))
    proxy = Proxy(gateway.port, wants="Basic dTpoaWRkZW4=")
    program.write("a.jsonl", 3)
    flags = ("--loki-url", "https://loki.example", "--ca-file", str(tmp_path / "ca.crt"))
    own = ("--client-cert-file", cert, "--client-key-file", key)
    env = {"HTTPS_PROXY": f"http://u:hidden@127.0.0.1:{proxy.port}", "NO_PROXY": ""}
    nameless = program.call("check", *flags, env=env)
    checked = program.call("check", *flags, *own, env=env)
    done = program.call("run", "--once", *flags, *own, env=env)
    proxy.close()
    gateway.close()

    assert (nameless.returncode, checked.returncode, done.returncode) == (1, 0, 0), done.stderr
    assert f"through the proxy 127.0.0.1:{proxy.port}" in checked.stdout
    assert set(gateway.common_names) == {"shipper.example"}
    assert [asked.line for asked in gateway.asked][-1] == "POST /loki/api/v1/push HTTP/1.1"
    for one in (nameless, checked, done):
        assert "hidden" not in one.stdout + one.stderr


def test_a_shipper_whose_state_directory_another_took_stands_still(
    program: Program, tmp_path: pathlib.Path
) -> None:
    """Of two that read the same files one would show each line twice; its health says what happened."""
    address = program.start()
    program.write("a.jsonl", 3)
    program.until(lambda: program.arrived() == 3, "the lines have arrived")
    other = Lock(tmp_path / "other")
    try:
        (tmp_path / "other" / "lock").rename(
            program.state / "lock"
        )  # as if all had been removed and made anew
        program.until(lambda: page(address, "/health")[0] == 503, "it says so")
        program.write("b.jsonl", 3)
        after = program.call("run", "--listen-address", "")
    finally:
        other.close()
    code, text = page(address, "/health")

    assert (code, program.arrived()) == (503, 3)
    assert "another shipper" in text
    assert "event=state_directory_taken_away" in program.log.read_text()
    assert after.returncode == 2
    program.running[0].send_signal(signal.SIGTERM)
    assert program.running[0].wait(timeout=10) == 0


def test_a_state_directory_that_is_removed_is_made_anew(program: Program) -> None:
    """What was sent is known still: nothing is sent again, by this run or the next."""
    program.start()
    program.write("a.jsonl", 3)
    program.until(lambda: program.arrived() == 3, "the lines have arrived")
    program.state.rename(program.state.with_name("removed"))
    program.until((program.state / "positions.json").exists, "it is there again")
    program.write("a.jsonl", 2)
    program.until(lambda: program.arrived() == 5, "the others have arrived")
    program.running[0].send_signal(signal.SIGTERM)
    code = program.running[0].wait(timeout=10)
    program.call("run", "--once", "--listen-address", "")

    assert code == 0
    assert program.arrived() == 5
    assert "event=state_directory_made_anew" in program.log.read_text()
