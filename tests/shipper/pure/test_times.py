from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipper.times import MAX_NS, Times, _parse, hour, number_ns, rfc3339

AT = "2026-11-21T05:06:07"
AT_NS = int(datetime(2026, 11, 21, 5, 6, 7, tzinfo=UTC).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("text", "past_ns"),
    [
        (f"{AT}Z", 0),
        (f"{AT}z", 0),
        ("2026-11-21 05:06:07Z", 0),
        ("2026-11-21t05:06:07Z", 0),
        (AT, 0),
        (f"{AT}.5Z", 500_000_000),
        (f"{AT},5Z", 500_000_000),
        (f"{AT}.123456789Z", 123_456_789),
        (f"{AT}.123456789987Z", 123_456_789),
        (f"{AT}.000001", 1_000),
        (f"{AT}.775494+00:00", 775_494_000),
        ("2026-11-21T07:06:07+02:00", 0),
        ("2026-11-20T21:06:07-0800", 0),
        ("2026-11-21 05:06:07.5 +00:00", 500_000_000),
        ("2026-11-21 05:06:07,123", 123_000_000),
        ("2026-11-21 07:06:07+02", 0),
        ("2026-11-21 05:06:07 UTC", 0),
        ("2026-11-21 05:06:07.25 GMT", 250_000_000),
        (f"{AT}.1234567899999999999999999Z", 123_456_789),
        (f"{AT}.123456789123456789123+00:00", 123_456_789),
        (f"{AT_NS // 10**9}.5", 500_000_000),
        (f"{AT_NS // 10**9}.123456789", 123_456_789),
        (f"{AT_NS // 10**9},25", 250_000_000),
        (f"{AT_NS // 10**9}.{'1' * 30}", 111_111_111),
        (f"{AT_NS // 10**6}.25", 250_000),
        (f"{AT_NS // 10**3}.5", 500),
        (f"{AT_NS}.9", 0),
        (str(AT_NS // 10**9), 0),
        (str(AT_NS // 10**6), 0),
        (str(AT_NS // 10**3), 0),
        (str(AT_NS), 0),
    ],
)
def test_the_forms_in_which_programs_write_times_are_read(text: str, past_ns: int) -> None:
    """RFC 3339 with any fraction and zone, without a zone as UTC, and epochs by their size."""
    times = Times()

    assert times.text_ns(text) == AT_NS + past_ns
    assert times.text_ns(text) == AT_NS + past_ns  # and again, out of the memory of seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Z",
        "now",
        "2026-11-21",
        f"{AT}.Z",
        f"{AT}.5x5Z",
        f"{AT}.²Z",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00.5Z",
        "1969-12-31T23:59:59Z",
        "1969-12-31T23:59:59.5Z",
        "0001-01-01T00:00:00Z",
        "2262-04-11T23:47:16.9Z",
        "2262-04-11T23:47:17Z",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59.5Z",
        "1111111111111111111.5Z",
        "0",
        "-5",
        "٢٠٢٦-11-21T05:06:07Z",
        "\ud800",
        "9" * 5000,
        "-1795237567",
        "-1795237567.5",
        "+1795237567",
        "0.5x",
        "1795237567.",
        ".5",
        "1795237567.5.5",
        "1.7e9",
        "inf",
        "9" * 19 + ".5",
        f"{AT}+24:00",
        f"{AT}+01:60",
        f"{AT}+1",
        f"{AT} ",
        f"{AT}  Z",
        "2026-11-21T05:06:60Z",
        "2026-11-21T23:59:61Z",
        "2026-11-21T23:59:60-08:00",
        "2026-11-21T24:00:00Z",
        "2026-W47-6T05:06:07Z",
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_no_usable_time_is_none(text: str) -> None:
    """Then the time of reading is taken; a wrong time would be worse."""
    assert Times().text_ns(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-31T23:59:60Z",
        "2016-12-31T23:59:60",
        "2016-12-31 23:59:60+00:00",
        "2017-01-01T08:59:60+09:00",
        "2016-12-31T15:59:60-0800",
    ],
)
def test_a_leap_second_is_the_second_that_follows(text: str) -> None:
    """As POSIX counts; it is one at midnight UTC, and nowhere else."""
    midnight_ns = 1483228800 * 10**9

    assert Times().text_ns(text) == midnight_ns
    assert Times().text_ns(text.replace(":60", ":60.25")) == midnight_ns + 250_000_000


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        [],
        {},
        0,
        -1,
        0.0,
        float("nan"),
        float("inf"),
        -float("inf"),
        -(10**30),
        10**30,
        10**400,
        1e300,
        5e-324,
    ],
)
def test_values_that_are_no_time_are_none(value: object) -> None:
    """JSON holds anything."""
    assert Times().value_ns(value) is None


@pytest.mark.parametrize("value", [1795237567, 1795237567.25, 1795237567250, 1795237567250000])
def test_a_number_is_seconds_to_nanoseconds_by_its_size(value: float) -> None:
    """What JSON has as a number."""
    ns = Times().value_ns(value)

    assert ns is not None
    assert ns // 10**9 == 1795237567


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2261, 1, 1)),  # noqa: DTZ001 - the zone comes next
    st.integers(-14 * 60, 14 * 60),
)
def test_any_time_in_any_zone_is_read_to_the_microsecond(at: datetime, minutes: int) -> None:
    """As the standard library writes it."""
    aware = at.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    elapsed = aware - datetime(1970, 1, 1, tzinfo=UTC)

    assert Times().text_ns(aware.isoformat()) == elapsed // timedelta(microseconds=1) * 1000


@given(st.text(max_size=40))
def test_no_text_raises(text: str) -> None:
    """Input is hostile."""
    ns = Times().text_ns(text)

    assert ns is None or 0 < ns <= MAX_NS


@settings(max_examples=500)
@given(
    st.sampled_from(
        [
            f"{AT}+00:00",
            f"{AT}.775494+00:00",
            f"{AT}Z",
            f"{AT}.5Z",
            f"{AT}.123456789Z",
            "1970-01-01T00:00:00Z",
            "2262-04-11T23:47:16.8Z",
        ]
    ),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("0159Zz.,:-+T 60²\ud800")), max_size=3),
)
def test_the_quick_way_and_the_thorough_way_agree(text: str, changes: list[tuple[int, str]]) -> None:
    """What is remembered of a minute changes no time."""
    times = Times()
    times.text_ns(f"{AT}Z")
    for place, character in changes:
        text = text[:place] + character + text[place + 1 :]

    assert times.text_ns(text) == times.text_ns(text) == _parse(text)


@given(st.integers(10**9, MAX_NS))
def test_what_is_written_as_original_time_reads_back(ns: int) -> None:
    """The metadata of a re-stamped line loses nothing."""
    assert Times().text_ns(rfc3339(ns)) == ns


def test_the_hour_of_a_backfill_stream_is_utc() -> None:
    """It is a label's value: the same on every machine."""
    assert hour(AT_NS) == "2026-11-21T05"


def test_the_memory_of_minutes_is_bounded() -> None:
    """Hostile lines each bring a new minute."""
    times = Times()

    for minute in range(10_000):
        times.text_ns(rfc3339((60 * minute + 1) * 10**9))

    assert len(times._minutes) <= 4096


def test_an_epoch_that_cannot_be_held_is_none() -> None:
    """Nanoseconds are 63 bits."""
    assert number_ns(MAX_NS) == MAX_NS
    assert number_ns(MAX_NS + 1) is None
