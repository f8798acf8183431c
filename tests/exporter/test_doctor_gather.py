"""What the doctor finds out: directories, sockets and their owners, and who answers on a port."""

from __future__ import annotations

import http.server
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import PASSWORD, authority, bcrypt_of
from loki_world import World

from exporter.commands.client import Access, make_access
from exporter.config import Config
from exporter.doctor.answer import ask_exporter
from exporter.doctor.facts import Barrier, Facts
from exporter.doctor.gather import find_barrier, gather
from exporter.doctor.sockets import Socket, listeners, parse_sockets
from exporter.sources.loki_mode.session import Status
from exporter.web.listen import Address
from exporter.web.neighbour import Neighbour, ask

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:E01E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0
   1: 0100007F:E01E 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 0
   3: torn
"""
TCP6 = """\
  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:E01E 00000000000000000000000000000000:0000 0A 0:0 00:0 0 33 0 55 1
"""


@pytest.mark.skipif(sys.byteorder == "big", reason="the recorded tables are of a little-endian machine")
def test_listening_sockets_of_both_tables_are_read() -> None:
    """Addresses of both kinds; connections and lines that are torn are left out."""
    assert parse_sockets(TCP) == [Socket("127.0.0.1", 57374, 1000, 4242), Socket("0.0.0.0", 8080, 0, 77)]  # noqa: S104
    assert parse_sockets(TCP6) == [Socket("::1", 57374, 33, 55)]
    assert parse_sockets("") == []


@pytest.fixture(name="listening")
def _listening() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


def test_listener_is_found_with_its_process(listening: socket.socket) -> None:
    """A real socket of this process: its address, its user, its pid and name, out of the real tables."""
    (found,) = listeners(frozenset({"127.0.0.1"}), listening.getsockname()[1])

    assert (found.host, found.uid, found.is_loopback) == ("127.0.0.1", os.geteuid(), True)
    assert found.process is not None
    assert found.process.pid == os.getpid()
    assert found.process.name == Path("/proc/self/comm").read_text("utf-8").strip()


@pytest.mark.parametrize(
    ("host", "is_met"),
    [("127.0.0.1", True), ("0.0.0.0", True), ("::", True), ("127.0.0.2", False)],  # noqa: S104
)
def test_listener_counts_where_it_is_in_the_way(listening: socket.socket, host: str, *, is_met: bool) -> None:
    """The same address, or all of them; another address of the machine is free."""
    assert bool(listeners(frozenset({host}), listening.getsockname()[1])) is is_met


def test_listener_that_closed_is_gone(listening: socket.socket) -> None:
    """Nobody listens: nothing is found."""
    port = listening.getsockname()[1]
    listening.close()

    assert listeners(frozenset({"127.0.0.1"}), port) == ()


def test_owner_that_may_not_be_seen_costs_only_its_name(tmp_path: Path) -> None:
    """Another user's descriptors are closed to us: the user is told by the table all the same."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP, "utf-8")
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "fd").write_text("no folder", "utf-8")
    (found,) = listeners(frozenset({"127.0.0.1"}), 57374, tmp_path)

    assert (found.uid, found.process) == (1000, None)


def test_owner_is_told_without_its_secrets(tmp_path: Path) -> None:
    """Of its environment only the two variables that matter; its arguments not at all."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(TCP, "utf-8")
    folder = tmp_path / "7"
    (folder / "fd").mkdir(parents=True)
    (folder / "fd" / "3").symlink_to("socket:[4242]")
    (folder / "comm").write_text("python3\n", "utf-8")
    (folder / "environ").write_text("API_KEY=hunter2\0LOKI_DIR=/srv/x/.loki\0", "utf-8")
    (folder / "cmdline").write_text("x\0--token=hunter2\0", "utf-8")
    (found,) = listeners(frozenset({"127.0.0.1"}), 57374, tmp_path)

    assert found.process is not None
    assert (found.process.pid, found.process.name, found.process.loki_dir) == (7, "python3", "/srv/x/.loki")
    assert "hunter2" not in repr(found)


def test_barrier_is_the_first_thing_that_is_missing(tmp_path: Path) -> None:
    """Of a path whose middle is missing, the middle is named."""
    assert find_barrier(tmp_path) is None
    assert find_barrier(tmp_path / "a" / "b" / ".loki") == Barrier(
        str(tmp_path / "a"), "does not exist", is_missing=True
    )


def test_barrier_may_be_a_file(tmp_path: Path) -> None:
    """A file where a directory should be is named as one."""
    (tmp_path / "x").write_text("", "utf-8")

    assert find_barrier(tmp_path / "x") == Barrier(str(tmp_path / "x"), "is no directory")
    assert find_barrier(tmp_path / "x" / ".loki") == Barrier(str(tmp_path / "x"), "is no directory")


@pytest.fixture(name="shared_folder")
def _shared_folder() -> Iterator[Path]:
    """Return a folder that everybody may pass, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Be somebody who has no rights of root, if this is root."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.parametrize(("mode", "shown"), [(0o000, "d---------"), (0o600, "drw-------")])
def test_barrier_names_owner_and_mode_of_what_may_not_be_passed(
    shared_folder: Path, mode: int, shown: str
) -> None:
    """Both a directory on the way and the last one; names may be read and files not, too."""
    closed = shared_folder / "closed"
    (closed / ".loki").mkdir(parents=True)
    closed.chmod(mode)
    try:
        with _as_nobody():
            on_the_way, itself = find_barrier(closed / ".loki"), find_barrier(closed)
    finally:
        closed.chmod(0o755)

    assert on_the_way == itself
    assert itself is not None
    assert (itself.path, itself.is_denied, itself.mode) == (str(closed), True, shown)


def test_barrier_may_be_a_directory_whose_names_only_can_be_read(shared_folder: Path) -> None:
    """The right to list is not the right to pass."""
    closed = shared_folder / ".loki"
    closed.mkdir(mode=0o744)
    with _as_nobody():
        if os.geteuid() != 65534:
            closed.chmod(0o400)
        found = find_barrier(closed)

    assert found is not None
    assert found.is_denied


def _gather(root: Path, port: int = 1, **settings: object) -> Facts:
    config = Config(loki_dirs=(str(root),), listen_address=Address("127.0.0.1", port), pids="visible")
    known = {"wants_remote": False, "now_s": time.time(), **settings}
    return gather(config, {}, Access(), **known)  # type: ignore[arg-type]


@pytest.fixture(name="now")
def _now(tmp_path: Path) -> Iterator[World]:
    """Return a project of this very moment, whose runner is this process."""
    world = World(tmp_path / "shop" / ".loki")
    world.now_s = time.time()
    world.write("loki.pid", f"{os.getpid()}\n")
    yield world
    world.close()


def test_project_that_runs_is_seen_with_its_files(now: World) -> None:
    """Status, pid, ages and records, by the real clock and the real processes."""
    now.state(mode="autonomous", age_s=3)
    now.event("session_start", age_s=20)
    now.event("iteration_complete", age_s=10, iteration=1, status="completed")
    now.write("metrics/efficiency/iteration-1.json", {"iteration": 1, "model": "opus", "cost_usd": 2.0})
    (found,) = _gather(now.root).projects

    assert (found.title, found.directory, found.barrier) == ("shop", str(now.root), None)
    assert (found.status, found.runner_lives) == (Status.RUNNING, True)
    assert set(found.ages_s) == {"dashboard-state.json", "events.jsonl", "loki.pid"}
    assert 3 <= found.ages_s["dashboard-state.json"] < 60
    assert (found.cost_records, found.has_cost, found.iterations_ended) == (1, True, 1.0)
    assert found.last_event_age_s is not None
    assert 9 <= found.last_event_age_s < 60
    assert (found.has_inner, found.is_global, found.has_runner_route) == (False, False, False)


def test_project_that_was_killed_is_seen(now: World) -> None:
    """A pid that nobody has, or that somebody has who came later, is no runner."""
    now.write("loki.pid", "4194305\n")
    assert _gather(now.root).projects[0].runner_lives is False

    now.write("loki.pid", f"{os.getpid()}\n", age_s=9e5)
    assert _gather(now.root).projects[0].runner_lives is False

    now.write("loki.pid", "nonsense")
    assert _gather(now.root).projects[0].runner_lives is None


def test_project_given_instead_of_its_directory_is_seen(now: World) -> None:
    """The folder above has a `.loki` and nothing else of ours."""
    (above,) = _gather(now.root.parent).projects
    (itself,) = _gather(now.root).projects

    assert (above.has_inner, itself.has_inner) == (True, False)


def test_loki_modes_own_folder_is_seen(tmp_path: Path) -> None:
    """It has the list of projects, and no session."""
    (tmp_path / "dashboard").mkdir()
    (tmp_path / "dashboard" / "projects.json").write_text("{}", "utf-8")

    assert _gather(tmp_path).projects[0].is_global


def test_directory_is_default_only_where_nobody_named_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOKI_DIR=./.loki is a choice; nothing at all is none."""
    monkeypatch.chdir(tmp_path)
    config = Config(listen_address=Address("127.0.0.1", 1))

    def is_default(environ: dict[str, str]) -> bool:
        return gather(config, environ, Access(), wants_remote=False, now_s=0.0).is_default_dir

    assert is_default({})
    assert not is_default({"LOKI_DIR": "./.loki"})


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"projects": []}', '{"projects": {"a": {"path": 3}}}', "[" * 100_000]
)
def test_list_of_projects_that_is_damaged_gives_no_hint(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a hint only: whatever it holds, the doctor goes on."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".loki" / "dashboard").mkdir(parents=True)
    (tmp_path / ".loki" / "dashboard" / "projects.json").write_text(text, "utf-8")

    assert not _gather(tmp_path).registered


@pytest.fixture(name="answering")
def _answering() -> Iterator[Callable[..., Address]]:
    """Return a function that starts a server that gives this page at /metrics, else this body."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(body: bytes, page: bytes | None = None) -> Address:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                sent = page if page is not None and self.path == "/metrics" else body
                self.send_response(200)
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Address("127.0.0.1", server.server_port)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_nobody_answers_on_a_free_port() -> None:
    """Refused is not the same as silent."""
    assert ask_exporter(Address("127.0.0.1", 1), "/metrics", Access()).who is None


@pytest.mark.parametrize(
    ("body", "who"),
    [
        (b'{"status":"healthy","service":"loki-dashboard"}', Neighbour.LOKI_DASHBOARD),
        (b"<html>", Neighbour.HTTP_SERVER),
    ],
)
def test_other_servers_are_told_apart(
    answering: Callable[[bytes], Address], body: bytes, who: Neighbour
) -> None:
    """Loki Mode's dashboard by what its health says; no page is asked of a stranger."""
    answer = ask_exporter(answering(body), "/metrics", Access())

    assert (answer.who, answer.report, answer.page_failure) == (who, None, None)


@pytest.fixture(name="serve")
def _serve(tmp_path: Path) -> Iterator[Callable[..., Address]]:
    """Return a function that runs `tallyship-exporter serve` on a free port of this machine."""
    running: list[subprocess.Popen[bytes]] = []

    def start(root: Path, web_config: str | None = None) -> Address:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = Address("127.0.0.1", probe.getsockname()[1])
        command = [sys.executable, "-m", "exporter", "serve", "--loki-dir", str(root)]
        command += ["--web.listen-address", str(address)]
        if web_config is not None:
            (tmp_path / "web.yml").write_text(web_config, "utf-8")
            command += ["--web.config.file", str(tmp_path / "web.yml")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        running.append(process)
        assert process.stderr is not None
        said = b""
        for line in process.stderr:
            said += line
            if b"event=serving" in line:
                return address
        pytest.fail(f"the exporter did not begin: {said!r}")

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        process.stderr.close()
        process.wait(timeout=20)


def _doctor(root: Path, address: Address, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter", "doctor", "--loki-dir", str(root)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LOKI_")}
    return subprocess.run(
        [*command, "--web.listen-address", str(address), "--pids", "visible", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environ,
    )


def test_doctor_finds_a_working_exporter_well(now: World, serve: Callable[..., Address]) -> None:
    """The real program beside the real exporter on a running session: exit code 0, and who has the port."""
    now.state(mode="autonomous")
    now.event("session_start")
    said = _doctor(now.root, serve(now.root))

    assert said.returncode == 0, said.stdout
    assert said.stderr == ""
    assert "WRONG" not in said.stdout
    assert "is the exporter's (" in said.stdout
    assert "metrics of Loki Mode" in said.stdout
    assert said.stdout.rstrip().endswith("look at its page /targets.")


def test_doctor_finds_what_is_wrong(now: World) -> None:
    """No exporter, and a state that nobody writes: exit code 1, both are said."""
    now.state(mode="autonomous", age_s=300)
    now.event("session_start", age_s=300)
    said = _doctor(now.root, Address("127.0.0.1", 1))

    assert said.returncode == 1
    assert "WRONG  port: nobody listens on 127.0.0.1:1" in said.stdout
    assert "WRONG  state shop: dashboard-state.json was written 5 min" in said.stdout
    assert "2 things are wrong." in said.stdout


def test_exporter_with_tls_and_users_is_recognised(
    now: World, serve: Callable[..., Address], tmp_path: Path
) -> None:
    """Without a password it is still known for what it is; with one its page is looked at."""
    authority().write(tmp_path)
    now.state(mode="autonomous")
    address = serve(
        now.root,
        f"tls_server_config: {{cert_file: {tmp_path}/server.crt, key_file: {tmp_path}/server.key}}\n"
        f"basic_auth_users: {{alice: {bcrypt_of(PASSWORD)}}}\n",
    )
    (tmp_path / "password").write_text(PASSWORD, "utf-8")
    ca_file = str(tmp_path / "ca.crt")
    alice = make_access(ca_file=ca_file, user="alice", password_file=str(tmp_path / "password"))

    distrusted = ask_exporter(address, "/metrics", Access())
    unnamed = ask_exporter(address, "/metrics", make_access(ca_file=ca_file))
    named = ask_exporter(address, "/metrics", alice)

    assert (distrusted.who, distrusted.is_tls) == (Neighbour.EXPORTER, True)
    assert "CERTIFICATE_VERIFY_FAILED" in str(distrusted.page_failure)
    assert (unnamed.who, unnamed.needs_user) == (Neighbour.EXPORTER, True)
    assert (named.who, named.page_failure, named.needs_user) == (Neighbour.EXPORTER, None, False)
    assert "loki_session_status" in named.samples


def test_exporter_that_demands_a_certificate_is_recognised(
    now: World, serve: Callable[..., Address], tmp_path: Path
) -> None:
    """Without one it is known all the same, and wants `--cert-file`; with one its page is looked at."""
    signer = authority()
    signer.write(tmp_path)
    signer.ca.issue_cert("doctor").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "doctor.pem"))
    now.state(mode="autonomous")
    address = serve(
        now.root,
        f"tls_server_config: {{cert_file: {tmp_path}/server.crt, key_file: {tmp_path}/server.key, "
        f"client_auth_type: RequireAndVerifyClientCert, client_ca_file: {tmp_path}/ca.crt}}\n",
    )
    ca_file = str(tmp_path / "ca.crt")

    bare = ask_exporter(address, "/metrics", make_access(ca_file=ca_file))
    shown = ask_exporter(
        address, "/metrics", make_access(ca_file=ca_file, cert_file=str(tmp_path / "doctor.pem"))
    )

    assert (bare.who, bare.is_tls, bare.needs_certificate) == (Neighbour.EXPORTER, True, True)
    assert "it wants --cert-file" in str(bare.page_failure)
    assert (shown.who, shown.page_failure, shown.needs_certificate) == (Neighbour.EXPORTER, None, False)
    assert "loki_session_status" in shown.samples


@pytest.mark.parametrize("protection", ["tls", "certificate", "users"])
def test_protected_exporter_is_told_to_who_wants_its_port(
    now: World, serve: Callable[..., Address], tmp_path: Path, protection: str
) -> None:
    """The second `serve` says that another exporter has the port, not some other web server."""
    authority().write(tmp_path)
    tls = f"cert_file: {tmp_path}/server.crt, key_file: {tmp_path}/server.key"
    address = serve(
        now.root,
        {
            "tls": f"tls_server_config: {{{tls}}}\n",
            "certificate": f"tls_server_config: {{{tls}, client_auth_type: RequireAndVerifyClientCert, "
            f"client_ca_file: {tmp_path}/ca.crt}}\n",
            "users": f"basic_auth_users: {{alice: {bcrypt_of('x')}}}\n",
        }[protection],
    )

    assert ask(address) is Neighbour.EXPORTER


def test_exporter_behind_a_proxy_that_demands_a_certificate_is_recognised(tmp_path: Path) -> None:
    """The proxy has its own words for plain HTTP; the certificate that was given opens it, whoever signed."""
    signer = authority()
    signer.write(tmp_path)
    signer.ca.issue_cert("doctor").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "doctor.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"component":"exporter","state":"ok","since":null,"checks":[]}')

        def log_message(self, *_: object) -> None:
            pass

    class Proxy(http.server.ThreadingHTTPServer):
        def get_request(self) -> tuple[socket.socket, object]:
            plain, client = super().get_request()
            return context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False), client

        def handle_error(self, *_: object) -> None:
            """Say nothing of who does not speak TLS."""

    with Proxy(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = Address("127.0.0.1", server.server_port)
        answer = ask_exporter(address, "/metrics", make_access(cert_file=str(tmp_path / "doctor.pem")))
        server.shutdown()

    assert (answer.who, answer.is_tls) == (Neighbour.EXPORTER, True)


def test_exporter_with_users_alone_is_recognised(now: World, serve: Callable[..., Address]) -> None:
    """Its health page answers 401; the one page without users tells who it is."""
    address = serve(now.root, f"basic_auth_users: {{alice: {bcrypt_of('x')}}}\n")
    answer = ask_exporter(address, "/metrics", Access())
    mistaken = ask_exporter(address, "/metrics", Access(headers={"Authorization": "Basic YWxpY2U6eQ=="}))

    assert (answer.who, answer.is_tls, answer.needs_user) == (Neighbour.EXPORTER, False, True)
    assert not answer.is_user_refused
    assert (mistaken.who, mistaken.needs_user, mistaken.is_user_refused) == (Neighbour.EXPORTER, True, True)
    assert "refused this user" in str(mistaken.page_failure)


def test_files_that_the_exporter_may_not_read_are_counted(answering: Callable[..., Address]) -> None:
    """Its own count by reason, summed over projects; other reasons are no matter of rights."""
    health = b'{"component":"exporter","state":"ok","since":null,"checks":[]}'
    series = 'tallyship_exporter_source_errors_total{project="%s",reason="%s",source="loki-mode"} %d\n'
    page = "".join(
        series % values for values in (("a", "permission", 2), ("b", "permission", 1), ("b", "torn", 9))
    )
    answer = ask_exporter(answering(health, page.encode()), "/metrics", Access())

    assert (answer.who, answer.page_failure, answer.denied_files) == (Neighbour.EXPORTER, None, 3.0)


def test_page_that_is_none_is_a_failure(answering: Callable[..., Address]) -> None:
    """An exporter behind a proxy that answers with its own HTML at this path."""
    health = b'{"component":"exporter","state":"ok","since":null,"checks":[]}'
    answer = ask_exporter(answering(health, b"<!doctype html>{"), "/metrics", Access())

    assert str(answer.page_failure).startswith("no page of metrics")
