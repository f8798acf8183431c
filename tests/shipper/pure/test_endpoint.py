from __future__ import annotations

import pytest

from shipper.push.endpoint import push_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://loki:3100", "http://loki:3100/loki/api/v1/push"),
        ("http://loki:3100/", "http://loki:3100/loki/api/v1/push"),
        ("http://loki:3100/loki/api/v1/push", "http://loki:3100/loki/api/v1/push"),
        ("https://gate/team/loki/api/v1/push/", "https://gate/team/loki/api/v1/push"),
        ("https://gate/team", "https://gate/team/loki/api/v1/push"),
        ("loki:3100", "http://loki:3100/loki/api/v1/push"),
        ("http://[::1]:3100", "http://[::1]:3100/loki/api/v1/push"),
    ],
)
def test_an_address_may_have_the_push_path_or_not(text: str, url: str) -> None:
    """Both are in use."""
    assert push_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://x",
        "http://",
        "http://x:port",
        "http://x?a=b",
        "http://x#y",
        "http://[::1",
        "http://x:99999",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With a reason."""
    with pytest.raises(ValueError, match=r"."):
        push_url(text)


@pytest.mark.parametrize("text", ["http://user:hunter2@loki", "ftp://user:hunter2@loki", "user:hunter2@loki"])
def test_no_message_repeats_a_password(text: str) -> None:
    """Messages end in logs."""
    with pytest.raises(ValueError, match="credentials") as caught:
        push_url(text)

    assert "hunter2" not in str(caught.value)
