from __future__ import annotations

import pytest

from shipper.push.endpoint import Endpoint, push_url
from shipper.push.proxy import choose
from shipper.push.request import Requests

URL = push_url("http://loki.example:3100/team")


def test_a_head_names_the_host_and_ends_with_the_length() -> None:
    """As http.client writes it."""
    head = Requests(Endpoint(URL)).head("POST", "/x", {"X-Scope-OrgID": "caf\xe9"}, 12)

    assert head == (
        b"POST /x HTTP/1.1\r\nHost: loki.example:3100\r\nAccept-Encoding: identity\r\n"
        b"X-Scope-OrgID: caf\xe9\r\nContent-Length: 12\r\n\r\n"
    )


def test_a_question_has_no_length() -> None:
    """There is no body."""
    assert Requests(Endpoint(URL)).head("GET", "/ready", {}, None) == (
        b"GET /ready HTTP/1.1\r\nHost: loki.example:3100\r\nAccept-Encoding: identity\r\n\r\n"
    )


def test_a_push_begins_as_its_head_does() -> None:
    """Through a proxy, too, which is given the whole address and its own credentials."""
    endpoint = Endpoint(URL, proxy=choose(URL, {"http_proxy": "http://u:p@proxy:3128"}))
    requests = Requests(endpoint)
    start = requests.start_of_push({"A": "b"})

    assert start + b"7\r\n\r\n" == requests.head("POST", requests.path, {"A": "b"}, 7)
    assert start.startswith(b"POST http://loki.example:3100/team/loki/api/v1/push HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic dTpw\r\n" in start


def test_the_proxy_of_an_encrypted_way_is_told_nothing_in_a_head() -> None:
    """It opened the tunnel; what goes through is for Loki."""
    url = push_url("https://loki.example")
    endpoint = Endpoint(url, proxy=choose(url, {"https_proxy": "http://u:p@proxy:3128"}))

    assert Requests(endpoint).start_of_push({}).startswith(b"POST /loki/api/v1/push HTTP/1.1\r\nHost: loki.")
    assert b"Proxy" not in Requests(endpoint).start_of_push({})


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "\u65e5\u672c"])
def test_what_cannot_stand_in_a_head_is_not_written(value: str) -> None:
    """No second header comes out of a value."""
    with pytest.raises(ValueError, match=r"Invalid header value|latin-1"):
        Requests(Endpoint(URL)).start_of_push({"X-Scope-OrgID": value})
