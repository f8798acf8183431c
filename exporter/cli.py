"""The command line: reads flags, hands over to the parts, and turns their answers into lines and exit codes.

Imports are made where they are needed: a `print` has no use for a web server, nor a healthcheck for a parser.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from exporter.commands.client import Access
    from exporter.commands.fetch import Page
    from exporter.config import Config

EXIT_DOWN = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_LONGEST_WAIT_S = 86_400.0


def _wait(_context: click.Context, _option: click.Parameter, seconds: float | None) -> float | None:
    """Refuse a time that nobody can wait for: none, backwards, not a number, or beyond a day."""
    if seconds is not None and not (math.isfinite(seconds) and 0 < seconds <= _LONGEST_WAIT_S):
        raise click.BadParameter(f"must be above 0 and at most {_LONGEST_WAIT_S:.0f} seconds")
    return seconds


_SETTINGS = (
    click.option(
        "--loki-dir",
        multiple=True,
        metavar="DIR",
        help="A project's .loki directory, or a quoted glob of them; repeatable. [$LOKI_DIR, else ./.loki]",
    ),
    click.option(
        "--registry",
        is_flag=False,
        flag_value="~/.loki/dashboard/projects.json",
        metavar="[FILE]",
        help="Read the projects that Loki Mode registered. [without FILE: ~/.loki/dashboard/projects.json]",
    ),
    click.option(
        "--pricing", metavar="FILE", help="Prices by model, TOML or JSON; they override all others."
    ),
    click.option(
        "--state-max-age-seconds",
        metavar="SECONDS",
        help="Without a pid file, a state older than this means stopped. [30]",
    ),
    click.option(
        "--keep-seconds", metavar="SECONDS", help="How long a torn file keeps its last good value. [60]"
    ),
    click.option(
        "--pids",
        metavar="auto|visible|hidden",
        help="Whether the agents' pids can be seen from here; auto: not from within a container. [auto]",
    ),
    click.option("--config", metavar="FILE", help="Settings in TOML; flags and environment go before."),
    click.option("--log-format", metavar="logfmt|json", help="Form of the log lines on stderr. [logfmt]"),
)

_WEB_SETTINGS = (
    click.option(
        "--web.listen-address",
        "listen_address",
        metavar="HOST:PORT",
        help="Where to answer. [127.0.0.1:57374, the port also from $LOKI_METRICS_PORT]",
    ),
    click.option(
        "--web.telemetry-path",
        "telemetry_path",
        metavar="PATH",
        help="Where the metrics are. [/metrics, $LOKI_METRICS_PATH]",
    ),
    click.option(
        "--web.config.file",
        "web_config_file",
        metavar="FILE",
        help="TLS, users and tokens, in the format of Prometheus' exporters.",
    ),
    click.option(
        "--cache-seconds", metavar="SECONDS", help="Scrapes within this time share one reading. [2]"
    ),
)


_ACCESS = (
    click.option("--ca-file", metavar="FILE", help="Speak TLS with whom this authority (PEM) vouches for."),
    click.option("--cert-file", metavar="FILE", help="Certificate to show, where one is asked for (PEM)."),
    click.option("--key-file", metavar="FILE", help="Its key. [in the same file]"),
    click.option("--user", metavar="NAME", help="Who asks, where users are asked for."),
    click.option("--password-file", metavar="FILE", help="A file with the user's password."),
    click.option("--token-file", metavar="FILE", help="A file with a bearer token."),
)


_ACCESS_NAMES = ("ca_file", "cert_file", "key_file", "user", "password_file", "token_file")


def _with(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _show_version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:  # noqa: FBT001 - click's signature
    """Say which version this is; only then is it looked up."""
    if is_asked and not context.resilient_parsing:
        from exporter.selfmetrics import package_version  # noqa: PLC0415 (see the module's docstring)

        click.echo(f"tallyship-exporter, version {package_version()}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Export what AI agents leave in their flat files as Prometheus metrics."""


@main.command()
@_with(*_SETTINGS, *_WEB_SETTINGS)
def serve(**flags: Any) -> None:
    """Answer scrapes over HTTP until SIGTERM."""
    config = _config_or_exit(flags)
    if not config.is_enabled:
        from exporter import notify  # noqa: PLC0415

        click.echo("LOKI_METRICS_ENABLED=false: metrics are switched off, nothing to do", err=True)
        # Who ends before READY has failed for systemd, whatever the exit code, and is started over and over.
        notify.of_this_process().send(
            notify.message(ready=True, status="switched off by LOKI_METRICS_ENABLED")
        )
        return
    from exporter.commands.serving import serve as run  # noqa: PLC0415 (see the module's docstring)

    failure = run(config)
    if failure is not None:
        _exit(failure, EXIT_USAGE)


@main.command("print", short_help="Write the metrics to stdout once.")
@_with(*_SETTINGS)
def print_(**flags: Any) -> None:
    """Write the metrics to stdout once; exit 1 if a source was down."""
    from exporter.commands.once import print_metrics  # noqa: PLC0415

    config = _config_or_exit(flags)
    down = print_metrics(config, sys.stdout.buffer)
    for line in down:
        click.echo(f"tallyship-exporter: {line}", err=True)
    if down:
        sys.exit(EXIT_DOWN)


@main.command(short_help="Check configuration and sources.")
@_with(*_SETTINGS, *_WEB_SETTINGS)
def check(**flags: Any) -> None:
    """Check configuration and sources, and say what would be exported."""
    from exporter.commands.once import describe  # noqa: PLC0415

    config = _config_or_exit(flags)
    lines, is_well = describe(config)
    for line in lines:
        click.echo(line)
    if not is_well:
        sys.exit(EXIT_DOWN)


@main.command(short_help="Fetch the metrics of a running exporter.")
@click.option("--host", default="127.0.0.1", metavar="HOST", help="Where it runs. [127.0.0.1]")
@click.option("--port", metavar="PORT", help="Its port. [57374, $LOKI_METRICS_PORT]")
@click.option("--path", metavar="PATH", help="Where its metrics are. [/metrics, $LOKI_METRICS_PATH]")
@click.option(
    "--watch",
    type=float,
    callback=_wait,
    metavar="SECONDS",
    help="Fetch again and again, this far apart.",
)
@click.option("--filter", "name_filter", metavar="NAME", help="Only metrics whose name has NAME in it.")
@_with(*_ACCESS)
def metrics(
    host: str,
    port: str | None,
    path: str | None,
    watch: float | None,
    name_filter: str | None,
    **access: str | None,
) -> None:
    """Fetch the metrics of an exporter that is running, as `loki metrics` does.

    With --watch, a terminal shows them in place, by project, with what changed; a pipe gets page after page.
    """
    from exporter.commands.fetch import fetch_metrics, only  # noqa: PLC0415

    port = port or os.environ.get("LOKI_METRICS_PORT") or "57374"
    path = path or os.environ.get("LOKI_METRICS_PATH") or "/metrics"
    with_ = _access_or_exit(access)

    def fetch() -> Page:
        return fetch_metrics(host, port, path, context=with_.context, headers=with_.headers)

    if watch is not None:
        _watch(fetch, watch, name_filter)
        return
    page = fetch()
    if page.failure is not None:
        _exit(page.failure, EXIT_DOWN)
    click.echo(only(page.text, name_filter), nl=False)


@main.command(short_help="Say why there are no numbers, and what mends it.")
@click.option("--remote", "wants_remote", is_flag=True, help="Prometheus runs on another host.")
@_with(*_SETTINGS, *_WEB_SETTINGS, *_ACCESS)
def doctor(*, wants_remote: bool, **flags: Any) -> None:
    """Look at configuration, files, port and running exporter, and say what is wrong and what mends it.

    Takes the settings of `serve`. Exit 0 when nothing is wrong, else 1. Changes nothing.
    """
    import time  # noqa: PLC0415

    from exporter.doctor.checks import examine  # noqa: PLC0415
    from exporter.doctor.gather import gather  # noqa: PLC0415
    from exporter.doctor.report import is_well, report  # noqa: PLC0415
    from exporter.logs import set_up_logging  # noqa: PLC0415

    with_ = _access_or_exit({name: flags.pop(name) for name in _ACCESS_NAMES})
    config = _config_or_exit(flags)
    set_up_logging(config.log_format, logging.ERROR)  # what was not read is said below, in other words
    findings = examine(gather(config, os.environ, with_, wants_remote=wants_remote, now_s=time.time()))
    for line in report(findings):
        click.echo(line)
    if not is_well(findings):
        sys.exit(EXIT_DOWN)


@main.command(short_help="Ask a running process for its health.")
@click.argument("url", default="http://127.0.0.1:57374/health")
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    callback=_wait,
    default=5.0,
    metavar="SECONDS",
    help="How long to wait. [5]",
)
@click.option("--strict", is_flag=True, help="Exit 1 when degraded, too.")
@_with(*_ACCESS)
def healthcheck(url: str, timeout_s: float, *, strict: bool, **access: str | None) -> None:
    """Ask a running process for its health; exit 0 when it works, 1 when it fails or does not answer."""
    from shared.healthcheck import State, Unreachable, probe  # noqa: PLC0415

    with_ = _access_or_exit(access)
    try:
        report = probe(url, timeout_s, context=with_.context, headers=with_.headers)
    except ValueError as error:
        _exit(str(error), EXIT_USAGE)
    if isinstance(report, Unreachable):
        _exit(report.reason, EXIT_DOWN)
    click.echo(f"{report.component}: {report.state}")
    for check_ in report.checks:
        click.echo(f"  {check_.name}: {check_.state}: {check_.detail}")
    if report.state is State.FAILING or (strict and report.state is State.DEGRADED):
        sys.exit(EXIT_DOWN)


@main.command("hash-password", short_help="Make an entry for a user or a token.")
@click.argument("name", required=False)
@click.option("--bearer", is_flag=True, help="Make the entry of a bearer token instead of a user's.")
@click.option(
    "--cost", type=click.IntRange(4, 18), metavar="NUMBER", help="What bcrypt is to cost; +1 doubles it. [10]"
)
def hash_password(name: str | None, cost: int | None, *, bearer: bool) -> None:
    """Make an entry of the web configuration file for the user or token NAME.

    The password is asked for on a terminal, and otherwise read from standard input, its first line.
    """
    from exporter.commands.entries import DEFAULT_COST, token_entry, user_entry  # noqa: PLC0415

    if bearer and cost is not None:
        raise click.BadParameter("has no meaning with --bearer", param_hint="--cost")
    secret = _secret_from_user("Token" if bearer else "Password")
    try:
        entry = token_entry(secret, name) if bearer else user_entry(secret, name, cost or DEFAULT_COST)
    except ValueError as error:
        _exit(str(error), EXIT_USAGE)
    click.echo(entry, nl=False)


def _secret_from_user(what: str) -> bytes:
    if sys.stdin.isatty():
        answer: str = click.prompt(what, hide_input=True, confirmation_prompt=True, err=True)
        return answer.encode()
    return sys.stdin.buffer.readline(1 << 16).rstrip(b"\r\n")


def _access_or_exit(access: dict[str, str | None]) -> Access:
    from exporter.commands.client import make_access  # noqa: PLC0415

    try:
        return make_access(**access)
    except ValueError as error:
        _exit(str(error), EXIT_USAGE)


def _watch(fetch: Callable[[], Page], every_s: float, name_filter: str | None) -> None:
    from exporter.commands.watching import watch_pipe, watch_terminal  # noqa: PLC0415

    try:
        failure = (watch_terminal if sys.stdout.isatty() else watch_pipe)(fetch, every_s, name_filter)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)  # the usual end, nothing to say
    if failure is not None:
        _exit(failure, EXIT_DOWN)


def _config_or_exit(flags: dict[str, Any]) -> Config:
    """Return the configuration, with logging set up by it; else say everything that is wrong and exit 2."""
    from exporter.config import ConfigError, load_config  # noqa: PLC0415 (see the module's docstring)
    from exporter.logs import set_up_logging  # noqa: PLC0415

    try:
        config = load_config(flags, os.environ)
    except ConfigError as error:
        count = len(error.problems)
        what = "1 problem" if count == 1 else f"{count} problems"
        _exit(f"{what} in the configuration: {'; '.join(error.problems)}", EXIT_USAGE)
    set_up_logging(config.log_format, logging.INFO)
    return config


def _exit(message: str, code: int) -> NoReturn:
    click.echo(f"tallyship-exporter: {message}", err=True)
    sys.exit(code)
