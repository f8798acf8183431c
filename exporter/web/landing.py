"""The page at `/`: plain HTML under a policy that lets it load and run nothing but its own style."""

from __future__ import annotations

import base64
import hashlib
from html import escape

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.4rem}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def document(title: str, body_html: str) -> str:
    """Return a whole HTML document whose style the policy allows; `body_html` is already escaped."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body_html}</body>\n</html>\n"
    )


def default_page(version: str, telemetry_path: str) -> str:
    """Return the simplest useful page: what this is, and where to go on."""
    links = ((telemetry_path, "Metrics"), ("/health", "Health report"), ("/-/ready", "Readiness"))
    items = "".join(f'<li><a href="{escape(path)}">{escape(text)}</a></li>\n' for path, text in links)
    return document(
        "Tallyship exporter",
        f"<h1>Tallyship exporter</h1>\n<p>Version {escape(version)}</p>\n<ul>\n{items}</ul>\n",
    )
