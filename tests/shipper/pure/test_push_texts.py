"""What is read out of the environment, headers and pages on the way of a push."""

from __future__ import annotations

import time

import pytest

from shipper.push.answer import Action, judge
from shipper.push.html import is_html, without_tags
from shipper.push.proxy import choose
from shipper.push.retry_after import retry_after_s

NOW_S = 1_790_000_000.0  # Mon, 21 Sep 2026 14:13:20 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("86400", 300.0),
        ("9" * 5000, 300.0),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60.0),
        ("Mon, 21 Sep 2026 14:13:00 GMT", 0.0),
        ("Tue, 21 Sep 2027 14:13:20 GMT", 300.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663", None),
        ("Mon, 99 Sep 2026 14:13:20 GMT", None),
        ("Mon, 21 Sep 99999999999 14:13:20 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_five_minutes_at_most(text: str, seconds: float | None) -> None:
    """What is neither counts as nothing."""
    assert retry_after_s(text, NOW_S) == seconds


def test_an_acknowledgement_and_a_refusal_carry_what_the_gateway_said() -> None:
    """The wait comes with whatever the answer means."""
    assert judge(429, "slow down", retry_after_s=3.0).retry_after_s == 3.0
    assert judge(429, "slow down").retry_after_s is None


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, ("p", 3128)),
        ({"https_proxy": "p:3128"}, ("p", 3128)),
        ({"HTTPS_PROXY": "http://first", "https_proxy": "http://second"}, ("first", 80)),
        ({"HTTPS_PROXY": " ", "https_proxy": "http://second"}, ("second", 80)),
        ({"HTTP_PROXY": "http://p:3128"}, None),
        ({"HTTPS_PROXY": "http://[::1]:8"}, ("::1", 8)),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "a, loki.example.com"}, None),
        ({"HTTPS_PROXY": "http://p", "no_proxy": ".example.com"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "*.example.com"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "EXAMPLE.com"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "loki.example.com:443"}, None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "loki.example.com:444"}, ("p", 80)),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": ".loki.example.com"}, ("p", 80)),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "ample.com,,10.0.0.0/8"}, ("p", 80)),
    ],
)
def test_the_environment_names_the_proxy(environ: dict[str, str], expected: tuple[str, int] | None) -> None:
    """By the scheme of the address, in either case of letters, unless the name is excepted."""
    found = choose("https://loki.example.com/loki/api/v1/push", environ)

    assert (None if found is None else (found.host, found.port)) == expected


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_direct"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:80", True),
        ("10.1.2.3", "10.1.2.3:81", False),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("11.1.2.3", "10.0.0.0/99,nonsense/", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]", "[fd00::1]:80", True),
        ("localhost", "", True),
        ("127.9.9.9", "", True),
        ("[::1]", "", True),
    ],
)
def test_addresses_can_be_excepted_and_loopback_always_is(host: str, no_proxy: str, is_direct: bool) -> None:  # noqa: FBT001 - a table's value
    """Single ones and networks."""
    found = choose(f"http://{host}/push", {"HTTP_PROXY": "http://p", "NO_PROXY": no_proxy})

    assert (found is None) is is_direct


@pytest.mark.parametrize(
    "text", ["socks5://u:hidden@p:1", "https://u:hidden@p", "http://u:hidden@p:99999", "http://u:hidden@"]
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(text: str) -> None:
    """It names the variable."""
    with pytest.raises(ValueError, match=r"^HTTPS_PROXY: ") as caught:
        choose("https://loki", {"HTTPS_PROXY": text})

    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<html><body>a<br>b</body></html>", "a b"),
        ("<!DOCTYPE html>\n<title>502</title>", "502"),
        ("<html><script>if (a < b) {}</script>x &lt; y", "x < y"),
        ("<html><style>never closed", ""),
        ("<html>half a <b", "half a <b"),
    ],
)
def test_of_a_page_the_text_remains(text: str, expected: str) -> None:
    """For a line of log."""
    assert is_html(text)
    assert " ".join(without_tags(text).split()) == expected


@pytest.mark.parametrize("text", ["", "entry <html> too far behind", "{}", "label <x>"])
def test_lokis_sentences_are_no_pages(text: str) -> None:
    """Even where they hold some angle brackets."""
    assert not is_html(text)


@pytest.mark.parametrize("piece", ["<", "<script", "<style>x</style>", "<html>", "&amp"])
def test_a_page_of_64_kib_costs_next_to_nothing(piece: str) -> None:
    """Whatever it is made of: a gateway may be hostile."""
    began = time.process_time()
    without_tags("<html>" + piece * (65536 // len(piece)))

    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("status", [400, 422])
def test_a_gateways_page_blames_no_line(status: int) -> None:
    """Nginx answers 400 where it wants a certificate: were that Loki's, every line would be buried."""
    page = "<html><body><h1>400 Bad Request</h1>No required SSL certificate was sent</body></html>"
    verdict = judge(status, page)

    assert (verdict.action, verdict.reason) == (Action.KEEP, "gateway")
    assert verdict.detail == "400 Bad Request No required SSL certificate was sent"


def test_a_page_with_200_is_no_acknowledgement() -> None:
    """A log-in page, say."""
    assert judge(200, "<html>Please sign in</html>").action is Action.KEEP


def test_a_redirect_says_where_to_without_credentials() -> None:
    """What stands before an @ is cut."""
    verdict = judge(302, "", location="https://u:hidden@other/x?token=hidden")

    assert verdict.detail == "to https://other/x: not followed, that address must be configured"
