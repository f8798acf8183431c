from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from exporter.web import exposition
from exporter.web.exposition import EncodedFamilies, Format, Wanted, render
from exporter.web.listen import Address, Listener, bind

FORMS = [Wanted(Format.TEXT), Wanted(Format.OPENMETRICS), Wanted(Format.OPENMETRICS, utf8_names=True)]


class Pages:
    """A registry that shows whatever is put into it."""

    def __init__(self, *families: Metric) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self.families


def tasks(values: dict[str, float]) -> Metric:
    """Return a family with a sample for each label."""
    family = GaugeMetricFamily("loki_tasks", "Tasks.", labels=["status"])
    for status, value in values.items():
        family.add_metric([status], value)
    return family


# Adding 0.0 makes -0.0 of it 0.0: the two are equal, and it does no harm if one stands for the other.
VALUES = st.dictionaries(st.text(max_size=3), st.floats().map(lambda value: value + 0.0))


@given(pages=st.lists(VALUES, max_size=5), want=st.sampled_from(FORMS))
def test_a_page_is_the_same_with_and_without_memory(pages: list[dict[str, float]], want: Wanted) -> None:
    """Whatever stood on the pages before, what is remembered of them changes no byte of the next."""
    known = EncodedFamilies()
    for values in pages:
        events = CounterMetricFamily("loki_events", "Events.", value=17)
        registry = Pages(tasks(values), events)
        assert render(registry, want, known) == render(registry, want)


@pytest.mark.parametrize("want", FORMS)
def test_an_unchanged_family_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch, want: Wanted) -> None:
    """Of two families the one that changed is encoded, the other is taken from the last page."""
    encoded: list[str] = []
    real = exposition._encode

    def spy(family: Metric, want: Wanted) -> bytes:
        encoded.append(family.name)
        return real(family, want)

    monkeypatch.setattr(exposition, "_encode", spy)
    known = EncodedFamilies()
    for count in (1, 1, 2):
        render(
            Pages(tasks({"failed": 3}), CounterMetricFamily("loki_events", "E.", value=count)), want, known
        )

    assert encoded == ["loki_tasks", "loki_events", "loki_events"]


def test_a_family_that_goes_on_in_the_same_object_is_seen_to_change() -> None:
    """A collector may keep its families and put samples into them."""
    known, family = EncodedFamilies(), tasks({"failed": 3})
    render(Pages(family), Wanted(), known)
    family.add_sample("loki_tasks", {"status": "pending"}, 5)

    assert b'{status="pending"} 5.0' in render(Pages(family), Wanted(), known)


def test_a_filtered_page_leaves_the_whole_one_whole() -> None:
    """What `name[]` cut out of a family is not what the next page shows of it."""
    known = EncodedFamilies()
    family = Metric("x", "X.", "histogram")
    family.add_sample("x_count", {}, 3)
    family.add_sample("x_sum", {}, 4)
    part = render(Pages(family), Wanted(names=frozenset({"x_sum"})), known)

    assert b"x_count" not in part
    assert b"x_count 3.0" in render(Pages(family), Wanted(), known)


def test_accepted_connections_do_not_wait_for_acknowledgements() -> None:
    """Nagle's delay is off, else the second packet of a page waits 40 ms on a connection that is kept."""

    async def accept() -> int:
        listener = bind(Address("127.0.0.1", 0))
        assert isinstance(listener, Listener)
        options: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def on_client(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted = writer.get_extra_info("socket")
            options.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(on_client, sock=listener.sock):
            _, writer = await asyncio.open_connection("127.0.0.1", listener.address.port)
            option = await options
            writer.close()
            await writer.wait_closed()
            return option

    assert asyncio.run(accept()) != 0
