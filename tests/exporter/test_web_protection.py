from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import TOKEN_ENTRY, Authority, authority, bcrypt_of
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from exporter.logs import RepeatLimiter
from exporter.web.config_file import Refused
from exporter.web.protection import LIMIT_BYTES, Protection, WebConfigFile

TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
MUTUAL = (
    "tls_server_config: {cert_file: server.crt, key_file: server.key, "
    "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}\n"
)


def users(*names: str) -> str:
    """Return the section with these users."""
    return f"basic_auth_users: {{{', '.join(f'{name}: {bcrypt_of(name)}' for name in names)}}}\n"


class World:
    """A folder with certificates and a web configuration, its clock, and what its reload has told."""

    def __init__(self, folder: Path, signer: Authority) -> None:
        self.folder = folder
        self.now_s = 1000.0
        self.renewals = 0
        signer.write(folder)
        self.file = WebConfigFile(
            str(folder / "web.yml"),
            now_s=lambda: self.now_s,
            repeats=RepeatLimiter(monotonic=lambda: self.now_s),
        )
        self.file.on_renewed_tls(self._renewed)

    def _renewed(self) -> None:
        self.renewals += 1

    def write(self, text: str) -> None:
        """Write the configuration."""
        (self.folder / "web.yml").write_text(text, "utf-8")

    def load(self, text: str) -> Protection:
        """Write and load for the first time; it must be good."""
        self.write(text)
        assert self.file.load() is None
        return self.file.current

    def problems(self, text: str) -> str:
        """Write and load for the first time; return why that is refused."""
        self.write(text)
        refused = self.file.load()
        assert isinstance(refused, Refused)
        return "; ".join(refused.problems)

    def look(self) -> bool:
        """Look once; return whether something new is in force."""
        before = self.file.current
        self.now_s += 1
        self.file.look()
        return self.file.current is not before


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Give a folder with good certificates and no configuration yet."""
    return World(tmp_path, authority())


# The first time


def test_a_good_file_is_loaded(world: World) -> None:
    """Users, tokens, headers, and a certificate with its key."""
    found = world.load(
        f"{TLS}{users('alice')}tallyship_bearer_tokens: {{prom: '{TOKEN_ENTRY}'}}\n"
        "http_server_config: {headers: {X-Frame-Options: deny}}\n"
    )

    assert found.tls is not None
    assert found.tls.context.verify_mode is ssl.CERT_NONE
    assert set(found.credentials.users) == {b"alice"}
    assert set(found.credentials.tokens) == {"prom"}
    assert found.headers == (("x-frame-options", "deny"),)
    assert (world.file.is_good, world.file.loaded_s) == (True, 1000.0)


def test_an_inline_certificate_is_loaded(world: World) -> None:
    """PEM in the file itself, as for Kubernetes' secrets."""
    pem = {
        name: (world.folder / name).read_text().replace("\n", "\n    ")
        for name in ("server.crt", "server.key")
    }

    found = world.load(
        f"tls_server_config:\n  cert: |\n    {pem['server.crt']}\n  key: |\n    {pem['server.key']}\n"
    )

    assert found.tls is not None
    assert found.tls.context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_versions_and_ciphers_arrive_in_the_context(world: World) -> None:
    """Only what is named is on, beside the suites of TLS 1.3, which are always on."""
    world.load(
        TLS.replace("}", ", prefer_server_cipher_suites: false, ")
        + "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384], max_version: TLS12}\n"
    )
    context = world.file.tls().context

    names = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    assert names == {"ECDHE-ECDSA-AES256-GCM-SHA384"}
    assert context.maximum_version is ssl.TLSVersion.TLSv1_2
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_suites_of_tls_13_alone_leave_no_older_version(world: World) -> None:
    """As in Go: with no suite for TLS 1.2 there is no TLS 1.2."""
    world.load(TLS.replace("}", ", cipher_suites: [TLS_AES_128_GCM_SHA256]}"))

    assert world.file.tls().context.minimum_version is ssl.TLSVersion.TLSv1_3


def _other_key(folder: Path) -> None:
    authority(1).write(folder)
    authority(0).ca.cert_pem.write_to_path(folder / "ca.crt")
    leaf = authority(0).ca.issue_cert("localhost")
    (folder / "server.crt").write_bytes(leaf.cert_chain_pems[0].bytes())


def _encrypted_key(folder: Path) -> None:
    path = folder / "server.key"
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"hunter2"))
    )


def _fifo(folder: Path) -> None:
    (folder / "server.key").unlink()
    os.mkfifo(folder / "server.key")


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no certificate": (lambda folder: (folder / "server.crt").unlink(), "No such file"),
    "no authority": (lambda folder: (folder / "ca.crt").unlink(), "ca.crt: No such file"),
    "a key of another": (_other_key, "does not belong to the certificate"),
    "an encrypted key": (_encrypted_key, "encrypted"),
    "a key that is none": (lambda folder: (folder / "server.key").write_text("junk"), "not both in PEM"),
    "an authority that is none": (lambda folder: (folder / "ca.crt").write_text("junk"), "client_ca"),
    "an authority in DER": (lambda folder: (folder / "ca.crt").write_bytes(b"\x30\x82\xff"), "client_ca"),
    "an empty authority": (lambda folder: (folder / "ca.crt").write_text(""), "client_ca"),
    "a huge key": (lambda folder: (folder / "server.key").write_bytes(b"x" * (LIMIT_BYTES + 1)), "above"),
    "a FIFO": (_fifo, "no regular file"),
    "a directory": (lambda folder: ((folder / "ca.crt").unlink(), (folder / "ca.crt").mkdir()), "irectory"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILERS.values(), ids=list(SPOILERS))
def test_a_file_that_cannot_be_used_is_named(
    world: World, spoil: Callable[[Path], object], words: str
) -> None:
    """At the start that is the end, with a reason; nothing hangs and nothing asks for a password."""
    spoil(world.folder)

    assert words in world.problems(MUTUAL)


@pytest.mark.parametrize("spoil", [spoil for spoil, _ in SPOILERS.values()], ids=list(SPOILERS))
def test_a_reload_that_fails_keeps_what_was(world: World, spoil: Callable[[Path], object]) -> None:
    """The old certificate and users stay, and the failure shows until the file is mended."""
    before = world.load(MUTUAL)
    spoil(world.folder)

    assert not world.look()
    assert world.file.current is before
    assert (world.file.is_good, world.file.loaded_s, world.renewals) == (False, 1000.0, 0)


def test_a_sandbox_without_memory_files_is_a_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call filter may forbid them; that is told like any other problem."""

    def forbidden(_name: str, _flags: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "memfd_create", forbidden)

    assert "cannot be loaded: [Errno 1] Operation not permitted" in world.problems(TLS)


def test_no_configuration_file_at_all_is_a_reason(world: World) -> None:
    """Somebody meant to be protected."""
    refused = world.file.load()

    assert refused is not None
    assert "web.yml: No such file" in refused.problems[0]


def test_a_file_in_another_encoding_is_a_reason(world: World) -> None:
    """Latin-1 in a name, and nothing quoted of it."""
    (world.folder / "web.yml").write_bytes(b"basic_auth_users: {j\xfcrgen: x}\n")

    refused = world.file.load()

    assert refused is not None
    assert refused.problems == (f"{world.folder}/web.yml: is no UTF-8 text",)


def test_several_problems_each_name_the_file(world: World) -> None:
    """They are told together with those of other settings."""
    told = world.problems("foo: 1\nbar: 2\n")

    assert told.count(f"{world.folder}/web.yml: ") == 2


# And again


def test_nothing_new_is_nothing_done(world: World) -> None:
    """The same content, even written anew, is the same protection."""
    world.load(TLS + users("alice"))
    assert not world.look()
    world.write(TLS + users("alice"))

    assert not world.look()
    assert world.file.loaded_s == 1000.0


def test_new_users_are_taken_over(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The certificate stays the same, so that no connection has to be made anew."""
    world.load(TLS + users("alice"))
    world.write(TLS + users("bob"))

    with caplog.at_level("INFO"):
        assert world.look()

    assert set(world.file.current.credentials.users) == {b"bob"}
    assert (world.file.loaded_s, world.renewals) == (1001.0, 0)
    assert [record.event for record in caplog.records] == ["web configuration reloaded"]


def test_a_renewed_certificate_is_taken_over(world: World) -> None:
    """Whoever renews it touches no configuration file; connections are made anew."""
    before = world.load(TLS)
    authority().write(world.folder)

    assert world.look()
    assert world.file.current.tls is not before.tls
    assert world.renewals == 1


def test_a_renewed_authority_is_taken_over(world: World) -> None:
    """Clients of the old one must not come back."""
    world.load(MUTUAL)
    authority(1).ca.cert_pem.write_to_path(world.folder / "ca.crt")

    assert world.look()
    assert world.renewals == 1


def test_a_certificate_swapped_by_symlink_is_taken_over(world: World) -> None:
    """As Kubernetes does it: the folder behind the link changes, whatever times its files have."""
    for number, folder in enumerate(("old", "new")):
        (world.folder / folder).mkdir()
        authority(number).write(world.folder / folder)
        for file in (world.folder / folder).iterdir():
            os.utime(file, (1, 1))
    (world.folder / "data").symlink_to("old")
    world.load("tls_server_config: {cert_file: data/server.crt, key_file: data/server.key}\n")
    (world.folder / "link").symlink_to("new")
    (world.folder / "link").rename(world.folder / "data")

    assert world.look()


def test_a_pair_renewed_one_after_the_other_is_taken_over_when_it_fits(world: World) -> None:
    """In between the old pair stays, whole."""
    before = world.load(TLS)
    leaf = authority().ca.issue_cert("localhost")
    (world.folder / "server.crt").write_bytes(leaf.cert_chain_pems[0].bytes())
    assert not world.look()
    assert world.file.current is before
    assert not world.file.is_good

    (world.folder / "server.key").write_bytes(leaf.private_key_pem.bytes())
    assert world.look()
    assert world.file.is_good


def test_a_file_that_is_as_it_was_again_is_good_again(world: World) -> None:
    """Mended by putting the old one back."""
    world.load(TLS + users("alice"))
    world.write("nonsense")
    world.look()
    assert not world.file.is_good
    world.write(TLS + users("alice"))
    world.look()

    assert (world.file.is_good, world.file.loaded_s, world.renewals) == (True, 1002.0, 0)


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        (TLS + users("alice"), "", "tls_server_config has gone"),
        (TLS + users("alice"), users("alice"), "tls_server_config has gone"),
        (TLS + users("alice"), TLS, "all users and tokens have gone"),
        (users("alice"), "", "all users and tokens have gone"),
        (users("alice"), TLS + users("alice"), "tls_server_config has been added"),
        (MUTUAL, TLS, "no certificate any more"),
    ],
)
def test_no_reload_takes_a_protection_away(
    world: World, first: str, then: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An empty file is valid, and is also what an editor leaves for a moment; so is one cut short."""
    before = world.load(first)
    world.write(then)

    assert not world.look()
    assert world.file.current is before
    assert not world.file.is_good
    told = [str(vars(record)["fields"]["problems"]) for record in caplog.records]
    assert any(f"{world.folder}/web.yml: " in problems and words in problems for problems in told)


def test_a_protection_may_be_added(world: World) -> None:
    """The first user and the demand for a certificate come without a restart."""
    world.load(TLS)
    world.write(MUTUAL + users("alice"))

    assert world.look()
    assert world.file.current.wants_certificate
    assert world.file.current.credentials.are_needed


def test_a_broken_file_is_told_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Not once a second; another problem is told at once, and the same one again after five minutes."""
    world.load(users("alice"))
    for text in ("nonsense", "other: 1", "nonsense", "other: 1"):
        world.write(text)
        world.look()
        world.look()
    assert len(caplog.records) == 2
    assert {record.event for record in caplog.records} == {"web configuration not reloaded"}

    world.now_s += 400
    world.write("nonsense")
    world.look()
    assert len(caplog.records) == 3


def test_the_watching_thread_survives_a_bug(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It shows as a failed reload, and the next look is made."""
    world.load(users("alice"))
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            raise KeyError("anything")
        world.file.close()

    monkeypatch.setattr(world.file, "look", look)
    monkeypatch.setattr("exporter.web.protection.LOOK_EVERY_S", 0.001)
    world.file._look_on()

    assert len(looks) == 2
    assert not world.file.is_good
    assert "KeyError" in str(vars(caplog.records[0])["fields"])
