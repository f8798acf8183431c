from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import bcrypt
import pytest
from certificates import bcrypt_of
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs import RepeatLimiter
from exporter.web.credentials import Basic, Bearer, Credentials, parse_authorization
from exporter.web.doorman import (
    MAX_LANES,
    MAX_PER_LANE,
    MAX_WRONG_KEPT,
    Doorman,
    Verdict,
    check_password,
    lane_of,
)
from exporter.web.lanes import Lanes
from exporter.web.turned_away import TurnedAway

HERE, THERE = "192.0.2.1", "192.0.2.2"
TOKEN = b"a-token-of-more-than-twenty-characters"


def basic(user: str, password: str) -> list[bytes]:
    """Return the header of a user and a password."""
    return [b"Basic " + base64.b64encode(f"{user}:{password}".encode())]


class Checks:
    """Stands for bcrypt: the hash `b"$2b$04$right"` fits the password `right`; counts, and can be held."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, password: bytes, against: bytes) -> bool:
        """Check one password."""
        self.asked.append((password, against))
        assert self.gate.wait(10)
        return against.endswith(b"$" + password)


class Door:
    """A doorman with two users and a token, and what he reads from."""

    def __init__(self) -> None:
        self.checks = Checks()
        self.known = Credentials(
            {b"alice": b"$2b$04$right", b"bob": b"$2b$04$bobs"},
            {"other": hashlib.sha256(b"x").digest(), "prom": hashlib.sha256(TOKEN).digest()},
        )
        self.doorman = Doorman(lambda: self.known, check=self.checks, key=b"k")

    async def judge(self, header: list[bytes], client: str = HERE) -> Verdict:
        """Ask him."""
        return await self.doorman.judge(header, client)


def run(scenario: Callable[[Door], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario with a door of its own."""

    async def main() -> None:
        door = Door()
        try:
            await asyncio.wait_for(scenario(door), 10)
        finally:
            door.checks.gate.set()
            door.doorman.close()

    asyncio.run(main())


async def settle(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; the scenario's time-out bounds it."""
    while not is_so():  # noqa: ASYNC110 (what is waited for happens in a thread)
        await asyncio.sleep(0.001)


# Verdicts


@pytest.mark.parametrize(
    ("header", "verdict"),
    [
        (basic("alice", "right"), Verdict.ADMITTED),
        (basic("alice", "wrong"), Verdict.REFUSED),
        (basic("alice", ""), Verdict.REFUSED),
        (basic("bob", "right"), Verdict.REFUSED),
        (basic("mallory", "right"), Verdict.REFUSED),
        (basic("", ""), Verdict.REFUSED),
        ([b"Bearer " + TOKEN], Verdict.ADMITTED),
        ([b"bearer   " + TOKEN + b" "], Verdict.ADMITTED),
        ([b"Bearer " + TOKEN[:-1]], Verdict.REFUSED),
        ([b"Bearer " + hashlib.sha256(TOKEN).hexdigest().encode()], Verdict.REFUSED),
        ([], Verdict.MISSING),
        ([b""], Verdict.MISSING),
        ([b"Bearer "], Verdict.MISSING),
        ([b"Digest username=alice"], Verdict.MISSING),
        ([b"Basic ???"], Verdict.MISSING),
        ([b"Basic " + base64.b64encode(b"no colon")], Verdict.MISSING),
        (basic("alice", "right") * 2, Verdict.MISSING),
    ],
)
def test_who_comes_in(header: list[bytes], verdict: Verdict) -> None:
    """The right password or token comes in, and nothing else; two headers say nothing at all."""

    async def scenario(door: Door) -> None:
        assert await door.judge(header) is verdict
        assert door.doorman.counts == {**dict.fromkeys(Verdict, 0), verdict: 1}

    run(scenario)


def test_without_users_and_tokens_everybody_comes_in() -> None:
    """A file may have TLS only."""

    async def scenario(door: Door) -> None:
        door.known = Credentials()
        assert await door.judge([]) is Verdict.ADMITTED

    run(scenario)


def test_with_tokens_only_no_password_is_computed() -> None:
    """There is nothing to compare with."""

    async def scenario(door: Door) -> None:
        door.known = Credentials({}, door.known.tokens)
        assert await door.judge(basic("alice", "right")) is Verdict.REFUSED
        assert door.checks.asked == []

    run(scenario)


# What is remembered


def test_a_right_password_is_computed_once() -> None:
    """Every later scrape compares a digest."""

    async def scenario(door: Door) -> None:
        for _ in range(100):
            assert await door.judge(basic("alice", "right")) is Verdict.ADMITTED
        assert len(door.checks.asked) == 1

    run(scenario)


def test_the_same_wrong_password_is_computed_once() -> None:
    """A Prometheus with an old password costs nothing; the memory of such is bounded."""

    async def scenario(door: Door) -> None:
        for _ in range(3):
            assert await door.judge(basic("alice", "wrong")) is Verdict.REFUSED
        assert len(door.checks.asked) == 1
        for number in range(MAX_WRONG_KEPT):
            await door.judge(basic("alice", str(number)))
        assert len(door.doorman._wrong) == MAX_WRONG_KEPT
        await door.judge(basic("alice", "wrong"))
        assert len(door.checks.asked) == MAX_WRONG_KEPT + 2

    run(scenario)


def test_wrong_passwords_do_not_push_out_a_right_one() -> None:
    """However many come: one place is kept for each user."""

    async def scenario(door: Door) -> None:
        await door.judge(basic("alice", "right"))
        for number in range(2 * MAX_WRONG_KEPT):
            await door.judge(basic("alice", str(number)))
        before = len(door.checks.asked)
        assert await door.judge(basic("alice", "right")) is Verdict.ADMITTED
        assert len(door.checks.asked) == before

    run(scenario)


def test_a_changed_hash_voids_what_is_remembered() -> None:
    """From the request after the reload: the old password is refused, the new one admitted."""

    async def scenario(door: Door) -> None:
        assert await door.judge(basic("alice", "right")) is Verdict.ADMITTED
        assert await door.judge(basic("alice", "newer")) is Verdict.REFUSED
        door.known = Credentials({b"alice": b"$2b$04$newer"})
        assert await door.judge(basic("alice", "right")) is Verdict.REFUSED
        assert await door.judge(basic("alice", "newer")) is Verdict.ADMITTED

    run(scenario)


def test_a_user_who_is_gone_stays_out() -> None:
    """His right password was remembered, and does not help him."""

    async def scenario(door: Door) -> None:
        assert await door.judge(basic("bob", "bobs")) is Verdict.ADMITTED
        door.known = Credentials({b"alice": b"$2b$04$right"})
        assert await door.judge(basic("bob", "bobs")) is Verdict.REFUSED

    run(scenario)


def test_no_password_is_kept() -> None:
    """Nothing that the doorman remembers holds a password, a token, or a digest without the key."""

    async def scenario(door: Door) -> None:
        for password in ("right", "wrong-password"):
            await door.judge(basic("alice", password))
        await door.judge([b"Bearer " + TOKEN])
        kept = repr(vars(door.doorman))
        for secret in (b"wrong-password", TOKEN):
            assert secret.decode() not in kept
            assert repr(hashlib.sha256(secret).digest())[2:-1] not in kept

    run(scenario)


# What a stranger learns


def test_an_unknown_user_costs_what_a_known_one_costs() -> None:
    """One computation each, against a hash of the same cost and form that fits no password."""

    async def scenario(door: Door) -> None:
        door.known = Credentials({b"alice": bcrypt_of("right", 5).encode()})
        await door.judge(basic("mallory", "guess"))
        await door.judge(basic("alice", "guess"))
        decoy, stored = (against for _, against in door.checks.asked)
        assert decoy[:7] == stored[:7] == b"$2b$05$"
        assert len(decoy) == len(stored)
        assert bcrypt.checkpw(b"guess", decoy) is False

    run(scenario)


def test_an_unknown_user_stays_out_whatever_is_computed() -> None:
    """A decoy fits no password; should one ever, nobody is let in by it, now or later."""

    async def scenario(door: Door) -> None:
        door.doorman._check = lambda _password, _against: True
        for _ in range(2):
            assert await door.judge(basic("mallory", "guess")) is Verdict.REFUSED
        assert door.doorman._right == {}

    run(scenario)


def test_an_unknown_user_always_gets_the_same_cost() -> None:
    """Where costs differ, the name alone decides which, and both occur."""

    async def scenario(door: Door) -> None:
        door.known = Credentials({b"alice": b"$2b$04$right", b"bob": b"$2b$05$bobs"})
        costs = {}
        for name in range(20):
            for guess in ("a", "b", "c"):
                await door.judge(basic(f"user{name}", guess))
            costs[name] = {against[4:6] for _, against in door.checks.asked[-3:]}
        assert all(len(cost) == 1 for cost in costs.values())
        assert set.union(*costs.values()) == {b"04", b"05"}

    run(scenario)


# Floods


def test_a_flood_from_one_address_delays_a_first_right_password_by_one_computation() -> None:
    """Another client is next in line, however many wrong passwords wait; most of those are sent away."""

    async def scenario(door: Door) -> None:
        door.checks.gate.clear()
        flood = [asyncio.ensure_future(door.judge(basic("alice", f"wrong{n}"))) for n in range(100)]
        await settle(lambda: door.doorman.counts[Verdict.BUSY] > 0 and len(door.checks.asked) == 1)
        first = asyncio.ensure_future(door.judge(basic("alice", "right"), THERE))
        await asyncio.sleep(0)
        door.checks.gate.set()

        assert await first is Verdict.ADMITTED
        verdicts = await asyncio.gather(*flood)
        place = [password for password, _ in door.checks.asked].index(b"right")
        assert place <= 2
        assert verdicts.count(Verdict.REFUSED) in {MAX_PER_LANE, MAX_PER_LANE + 1}
        assert verdicts.count(Verdict.BUSY) == 100 - verdicts.count(Verdict.REFUSED)

    run(scenario)


def test_a_right_password_that_comes_again_gets_past_a_flood_from_its_own_address() -> None:
    """Behind one proxy all have one address: a scrape is turned away once, and let in at the next."""

    async def scenario(door: Door) -> None:
        door.checks.gate.clear()

        def flood(first: int) -> list[asyncio.Future[Verdict]]:
            numbers = range(first, first + 500)
            return [asyncio.ensure_future(door.judge(basic("alice", f"wrong{n}"))) for n in numbers]

        guesses = flood(0)
        await settle(lambda: len(door.checks.asked) == 1)
        guesses += flood(500)  # takes the place that has become free
        await settle(lambda: door.doorman.counts[Verdict.BUSY] > 900)
        assert await door.judge(basic("alice", "right")) is Verdict.BUSY
        guesses += flood(1000)
        await settle(lambda: door.doorman.counts[Verdict.BUSY] > 1400)
        scrape = asyncio.ensure_future(door.judge(basic("alice", "right")))
        await asyncio.sleep(0)
        door.checks.gate.set()

        assert await scrape is Verdict.ADMITTED
        await asyncio.gather(*guesses)
        assert [password for password, _ in door.checks.asked].index(b"right") <= 2
        assert len(door.checks.asked) <= MAX_PER_LANE + 2  # no guess got more room than before

    run(scenario)


def test_guesses_sent_twice_take_no_lane_from_other_addresses() -> None:
    """Whoever comes again has one lane for its address, however many of its guesses return."""

    async def scenario(door: Door) -> None:
        door.checks.gate.clear()
        guesses = [
            asyncio.ensure_future(door.judge(basic("alice", f"wrong{n}"))) for n in [*range(200), *range(200)]
        ]
        await settle(lambda: door.doorman.counts[Verdict.BUSY] > 300)
        others = [
            asyncio.ensure_future(
                door.judge(basic("alice", "right" if n == 0 else f"mine{n}"), f"192.0.2.{n + 9}")
            )
            for n in range(MAX_LANES - 2)
        ]
        await asyncio.sleep(0)
        door.checks.gate.set()

        assert await others[0] is Verdict.ADMITTED
        assert set(await asyncio.gather(*others[1:])) == {Verdict.REFUSED}
        verdicts = await asyncio.gather(*guesses)
        asked = [password for password, _ in door.checks.asked if password.startswith(b"wrong")]
        assert verdicts.count(Verdict.BUSY) > 300
        assert len(asked) <= 2 * MAX_PER_LANE + 1

    run(scenario)


@given(st.lists(st.binary(min_size=32, max_size=32), unique=True, max_size=60))
def test_who_was_turned_away_is_known_until_another_takes_the_place(digests: list[bytes]) -> None:
    """Nobody is taken for somebody else, the last one is always known, and no more than fit are."""
    away = TurnedAway(places=8)
    for number, digest in enumerate(digests):
        assert digest not in away
        away.add(digest)
        assert digest in away
        assert sum(earlier in away for earlier in digests[: number + 1]) <= 8


def test_a_known_password_waits_for_no_computation() -> None:
    """While the worker is stuck in a wrong one, a right one that is remembered comes in."""

    async def scenario(door: Door) -> None:
        await door.judge(basic("alice", "right"))
        door.checks.gate.clear()
        stuck = asyncio.ensure_future(door.judge(basic("alice", "wrong")))
        await settle(lambda: len(door.checks.asked) == 2)

        assert await door.judge(basic("alice", "right")) is Verdict.ADMITTED
        assert await door.judge([b"Bearer " + TOKEN]) is Verdict.ADMITTED
        door.checks.gate.set()
        assert await stuck is Verdict.REFUSED

    run(scenario)


def test_equal_questions_at_once_are_computed_once() -> None:
    """Two Prometheus servers that begin to scrape at the same time."""

    async def scenario(door: Door) -> None:
        asked = [door.judge(basic("alice", "right"), client) for client in (HERE, THERE) * 10]
        assert set(await asyncio.gather(*asked)) == {Verdict.ADMITTED}
        assert len(door.checks.asked) == 1

    run(scenario)


def test_a_password_that_cannot_be_checked_is_not_remembered_as_wrong() -> None:
    """Something broke here, not there: the client is told to come again, and the next one is served."""

    async def scenario(door: Door) -> None:
        def broken(_password: bytes, _against: bytes) -> bool:
            raise MemoryError

        door.doorman._check = broken
        assert await door.judge(basic("alice", "right")) is Verdict.BUSY
        door.doorman._check = door.checks
        assert await door.judge(basic("alice", "right")) is Verdict.ADMITTED

    run(scenario)


def test_refusals_are_logged_once_for_each_client(caplog: pytest.LogCaptureFixture) -> None:
    """With the address, and without what was sent as user or password."""

    async def scenario(door: Door) -> None:
        door.doorman._repeats = RepeatLimiter(monotonic=lambda: 0.0)
        for number in range(5):
            await door.judge(basic(f"hunter{number}", f"secret{number}"))
        await door.judge(basic("hunter", "secret"), THERE)

    with caplog.at_level("WARNING"):
        run(scenario)

    assert [vars(record)["fields"]["client"] for record in caplog.records] == [HERE, THERE]
    assert not any(
        "hunter" in str(vars(record)) or "secret" in str(vars(record)) for record in caplog.records
    )


# The parts


@pytest.mark.parametrize("prefix", ["2a", "2b", "2y"])
def test_the_hashes_of_other_tools_are_understood(prefix: str) -> None:
    """`htpasswd` writes 2y, Python 2b, older tools 2a."""
    stored = bcrypt_of("pass word").replace("$2b$", f"${prefix}$").encode()

    assert check_password(b"pass word", stored)
    assert not check_password(b"password", stored)


@pytest.mark.parametrize("password", [b"x" * 100, b"nul\0nul", b"\xff\xfe", b""])
def test_no_password_whatever_raises(password: bytes) -> None:
    """Of itself bcrypt refuses some of these."""
    assert check_password(password, bcrypt_of("right").encode()) is False


def test_bcrypt_looks_at_72_bytes() -> None:
    """As with exporter-toolkit, so that a hash made by another tool admits the same passwords."""
    stored = bcrypt_of("a" * 72).encode()

    assert check_password(b"a" * 90, stored)
    assert not check_password(b"a" * 71, stored)


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("unknown", "unknown", True),
    ],
)
def test_a_lane_is_what_one_machine_commonly_has(one: str, other: str, *, are_same: bool) -> None:
    """One address of IPv4, 64 bits of IPv6."""
    assert (lane_of(one) == lane_of(other)) is are_same


@given(st.lists(st.binary(max_size=30), max_size=3))
def test_no_header_whatever_raises(values: list[bytes]) -> None:
    """It is a claim, or nothing."""
    assert isinstance(parse_authorization(values), Basic | Bearer | None)


@given(
    st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"]), max_size=10),
    st.text(max_size=10),
)
def test_user_and_password_arrive_as_they_were_sent(user: str, password: str) -> None:
    """Colons, blanks and letters of any script in the password included."""
    assert parse_authorization(basic(user, password)) == Basic(user.encode(), password.encode())


@given(st.lists(st.tuples(st.integers(0, 5), st.integers()), max_size=40))
def test_lanes_take_turns(puts: list[tuple[int, int]]) -> None:
    """Nothing is lost, order holds within a lane, and nobody is served twice before all are once."""
    lanes: Lanes[tuple[int, int]] = Lanes(max_lanes=4, max_per_lane=3)
    taken_in = [item for item in puts if lanes.put(item[0], item)]
    out = []
    while (item := lanes.take()) is not None:
        out.append(item)

    assert sorted(out) == sorted(taken_in)
    for lane in range(6):
        mine = [item for item in taken_in if item[0] == lane]
        assert [item for item in out if item[0] == lane] == mine
        assert len(mine) <= 3
    first_round = len({lane for lane, _ in taken_in})
    assert len({lane for lane, _ in out[:first_round]}) == first_round <= 4


def test_a_full_house_refuses_new_lanes_only() -> None:
    """Who waits already may wait with more, within the lane's bound."""
    lanes: Lanes[int] = Lanes(max_lanes=2, max_per_lane=2)

    assert [lanes.put(lane, 1) for lane in "abab"] == [True] * 4
    assert [lanes.put(lane, 1) for lane in "ac"] == [False, False]
    assert lanes.take() == 1
    assert lanes.put("a", 2)
