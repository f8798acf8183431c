"""The page at `/`: plain HTML under a policy that lets it load and run nothing but its own style."""

from __future__ import annotations

import base64
import hashlib
from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--page:#f6f8fa;--card:#fff;--line:#d0d7de;
--good:#116329;--warn:#7d4e00;--bad:#a40e26;--link:#0550ae}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9ba5b0;--page:#0d1117;--card:#161b22;
--line:#30363d;--good:#56d364;--warn:#e3b341;--bad:#ff8178;--link:#79b8ff}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem;color:var(--ink);
background:var(--page);overflow-wrap:anywhere}
h1{font-size:1.4rem;margin:.5rem 0 0}
h2{font-size:1.15rem;margin:0;min-width:0}
a{color:var(--link)}
nav a{margin-right:1rem;line-height:2}
.soft,footer{color:var(--soft);font-size:.875rem}
main{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));margin:1rem 0}
article{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:1rem;min-width:0}
article header{display:flex;gap:.75rem;justify-content:space-between;align-items:baseline}
article p{margin:.25rem 0 0}
.badge{flex:none;font-weight:600;font-size:.875rem;border:1px solid;border-radius:1rem;padding:0 .6rem}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
dl{margin:.75rem 0 0}
dl div{display:flex;gap:.75rem;padding:.3rem 0;border-top:1px solid var(--line)}
dt{flex:0 0 5.5rem;color:var(--soft)}
dd{margin:0;flex:1;min-width:0;font-variant-numeric:tabular-nums}
.unbroken{white-space:nowrap}
dd small{display:block;color:var(--soft);font-size:.8125rem}
dd .warn,dd .bad{font-weight:600}
abbr{text-decoration:none;color:var(--soft)}
progress,meter{display:block;width:100%;height:.6rem;margin:.2rem 0}
progress{accent-color:var(--link)}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def document(title: str, body_html: str, *, refresh_s: int | None = None) -> str:
    """Return a whole HTML document whose style the policy allows; `body_html` is already escaped.

    `refresh_s`: the browser asks for it anew after so many seconds, and needs no script to do so.
    """
    refresh = "" if refresh_s is None else f'<meta http-equiv="refresh" content="{refresh_s}">\n'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{refresh}<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body_html}</body>\n</html>\n"
    )


def default_page(version: str, telemetry_path: str) -> str:
    """Return the simplest useful page: what this is, and where to go on."""
    links = ((telemetry_path, "Metrics"), ("/health", "Health report"), ("/-/ready", "Readiness"))
    items = "".join(f'<li><a href="{escape(path)}">{escape(text)}</a></li>\n' for path, text in links)
    return document(
        "Tallyship exporter",
        f"<h1>Tallyship exporter</h1>\n<p>Version {escape(version)}</p>\n<ul>\n{items}</ul>\n",
    )
