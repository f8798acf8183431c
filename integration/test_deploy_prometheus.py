"""The files of `deploy/prometheus` in a real Prometheus and a real Alertmanager, on a live exporter."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import trustme

from integration.containers import HOST, Prometheus, bridge_address, eventually, free_port
from integration.deploy_session import DEPLOY, running_session

FOLDER = DEPLOY / "prometheus"
RULES = (FOLDER / "loki-mode-alerts.yml").read_text("utf-8")
TOOLS = DEPLOY.parent / "tests/deploy"


def shipped(name: str, served: Any, *, alertmanager: str = "localhost:9093") -> str:
    """Return a shipped configuration that scrapes a test's exporter, and every second."""
    text = (FOLDER / name).read_text("utf-8").replace("scrape_interval: 15s", "scrape_interval: 1s")
    for target in ("localhost:57374", "dashboard.example.com:443"):
        text = text.replace(target, served.target)
    return text.replace("localhost:9093", alertmanager)


def is_up(server: Prometheus) -> bool:
    """Whether the job has been scraped well."""
    return server.query('up{job="loki-mode"} == 1') != []


def rules_of(server: Prometheus) -> list[dict[str, Any]]:
    """Return the rules as Prometheus holds them, with their health."""
    groups = requests.get(f"{server.url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_the_basic_file_scrapes_an_exporter_of_several_projects(
    prometheus: Callable[..., Prometheus], exporter: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    """Every sample has the file's label `environment` and the exporter's own `project`, and nothing else."""
    for name in ("shop", "blog"):
        (tmp_path / name / ".loki").mkdir(parents=True)
    served = exporter("--loki-dir", f"{tmp_path}/*/.loki")

    server = prometheus(shipped("prometheus.yml", served), files={"loki-mode-alerts.yml": RULES})

    eventually(lambda: is_up(server), within_s=30, what="the exporter is scraped")
    labels = [series["metric"] for series in server.query("loki_session_status")]
    assert [(found["environment"], found["project"]) for found in labels] == [
        ("production", "blog"),
        ("production", "shop"),
    ]
    assert all("exported_project" not in found for found in labels)


def test_a_target_label_project_hides_the_exporters_own_as_the_file_says(
    prometheus: Callable[..., Prometheus], exporter: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    """The documented target label turns ours into `exported_project`; with honor_labels ours stays."""
    (tmp_path / "shop/.loki").mkdir(parents=True)
    served = exporter("--loki-dir", f"{tmp_path}/*/.loki")
    text = shipped("prometheus.yml", served)
    documented = text.replace("environment: production", "environment: production\n          project: my-app")
    honouring = documented.replace("- job_name: loki-mode", "- job_name: loki-mode\n    honor_labels: true")

    servers = [
        prometheus(config, files={"loki-mode-alerts.yml": RULES}) for config in (documented, honouring)
    ]

    for server in servers:
        eventually(lambda server=server: is_up(server), within_s=30, what="the exporter is scraped")
    (as_documented,), (honoured,) = (server.query("loki_session_status") for server in servers)
    assert as_documented["metric"]["project"] == "my-app"
    assert as_documented["metric"]["exported_project"] == "shop"
    assert honoured["metric"]["project"] == "shop"
    assert "exported_project" not in honoured["metric"]


@dataclasses.dataclass(frozen=True)
class Secured:
    """An exporter behind TLS, and what a client needs for it."""

    target: str
    ca: str
    token: str


@pytest.fixture(name="secured")
def _secured(tmp_path: pathlib.Path) -> Iterator[Callable[..., Secured]]:
    """Give a function that runs an exporter with a certificate for the name by which containers know us."""
    with contextlib.ExitStack() as stack:

        def start(*, with_token: bool) -> Secured:
            authority, token = trustme.CA(), secrets.token_hex(32)
            certificate = authority.issue_cert(HOST)
            certificate.cert_chain_pems[0].write_to_path(tmp_path / "exporter.crt")
            certificate.private_key_pem.write_to_path(tmp_path / "exporter.key")
            web = "tls_server_config: {cert_file: exporter.crt, key_file: exporter.key}\n"
            if with_token:
                web += f"tallyship_bearer_tokens:\n{_entry(token)}\n"
            (tmp_path / "web.yml").write_text(web)
            (tmp_path / ".loki").mkdir()
            address = f"{bridge_address()}:{free_port()}"
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "exporter", "serve", "--web.listen-address", address),
                    *("--web.config.file", tmp_path / "web.yml", "--loki-dir", tmp_path / ".loki"),
                ],
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            ca = authority.cert_pem.bytes().decode()
            return Secured(f"{HOST}:{address.rpartition(':')[2]}", ca, token)

        yield start


def _entry(token: str) -> str:
    """Return the line that the program makes of a token for its file."""
    command = [sys.executable, "-m", "exporter", "hash-password", "--bearer", "prometheus"]
    made = subprocess.run(command, input=token, capture_output=True, text=True, check=True).stdout
    return "\n".join(f"  {line.strip()}" for line in made.splitlines() if "sha256:" in line)


def _last_errors(server: Prometheus) -> str:
    """Return why the scrapes failed, once they did."""
    return "".join(target["lastError"] for target in server.targets())


def test_the_tls_file_scrapes_an_exporter_with_that_certificate_and_no_other(
    prometheus: Callable[..., Prometheus], secured: Callable[..., Secured]
) -> None:
    """With the CA it names the scrape works; with another CA it does not."""
    served = secured(with_token=False)
    config, rules = shipped("prometheus-tls.yml", served), {"loki-mode-alerts.yml": RULES}
    foreign = trustme.CA().cert_pem.bytes().decode()

    server = prometheus(config, files={**rules, "exporter-ca.crt": served.ca})
    deceived = prometheus(config, files={**rules, "exporter-ca.crt": foreign})

    eventually(lambda: is_up(server), within_s=30, what="the exporter is scraped over TLS")
    assert server.targets()[0]["scrapeUrl"].startswith("https://")
    error = eventually(lambda: _last_errors(deceived), within_s=30, what="a scrape fails")
    assert "certificate signed by unknown authority" in error
    assert not is_up(deceived)


def test_the_bearer_file_scrapes_with_the_token_and_with_no_other(
    prometheus: Callable[..., Prometheus], secured: Callable[..., Secured]
) -> None:
    """With the token in the file it names the scrape works; with another one it is refused."""
    served = secured(with_token=True)
    # As the file says for a certificate that no public CA signed.
    config = shipped("prometheus-bearer.yml", served).replace(
        "    scheme: https\n", "    scheme: https\n    tls_config:\n      ca_file: exporter-ca.crt\n"
    )
    files = {"loki-mode-alerts.yml": RULES, "exporter-ca.crt": served.ca}

    server = prometheus(config, files={**files, "exporter-token": served.token})
    refused = prometheus(config, files={**files, "exporter-token": secrets.token_hex(32)})

    eventually(lambda: is_up(server), within_s=30, what="the exporter is scraped with a token")
    error = eventually(lambda: _last_errors(refused), within_s=30, what="a scrape fails")
    assert "401" in error
    assert not is_up(refused)


@pytest.fixture(name="slack")
def _slack() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Give the address of a webhook, and the messages that it got."""
    messages: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield f"http://127.0.0.1:{server.server_port}/webhook", messages
        server.shutdown()


@pytest.fixture(name="alertmanager")
def _alertmanager(slack: tuple[str, list[dict[str, Any]]], tmp_path: pathlib.Path) -> Iterator[str]:
    """Give HOST:PORT of a real Alertmanager with the shipped configuration, as a container reaches it."""
    found = subprocess.run([TOOLS / "alertmanager/make"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip(f"no Alertmanager can be had: {found.stderr.strip()[-200:]}")
    (tmp_path / "webhook-url").write_text(slack[0])
    text = (FOLDER / "alertmanager.yml").read_text("utf-8")
    text = text.replace("/etc/alertmanager/slack-webhook-url", str(tmp_path / "webhook-url"))
    (tmp_path / "alertmanager.yml").write_text(text.replace("group_wait: 30s", "group_wait: 1s"))
    address = f"{bridge_address()}:{free_port()}"
    with (tmp_path / "alertmanager.log").open("wb") as log, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [
                f"{found.stdout.strip()}/alertmanager",
                f"--config.file={tmp_path}/alertmanager.yml",
                f"--storage.path={tmp_path}/alertmanager",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        eventually(
            lambda: requests.get(f"http://{address}/-/ready", timeout=5).ok,
            within_s=30,
            what="Alertmanager is ready",
        )
        yield f"{HOST}:{address.rpartition(':')[2]}"


def test_a_killed_session_fires_and_slack_is_told(
    prometheus: Callable[..., Prometheus],
    exporter: Callable[..., Any],
    alertmanager: str,
    slack: tuple[str, list[dict[str, Any]]],
    tmp_path: pathlib.Path,
) -> None:
    """SIGKILL of the runner, whose files go on claiming a session, makes LokiSessionDown fire, all the way.

    Only the times are made shorter: 5 minutes become 3 seconds, an evaluation comes every second.
    """
    long, short = (f"expr: loki_session_status == 0\n        for: {wait}" for wait in ("5m", "3s"))
    assert long in RULES
    rules = RULES.replace("interval: 30s", "interval: 1s").replace(long, short)
    with running_session(tmp_path / "shop/.loki", project="shop") as runner:
        served = exporter("--loki-dir", f"{tmp_path}/*/.loki", "--cache-seconds", "0")
        server = prometheus(
            shipped("prometheus.yml", served, alertmanager=alertmanager),
            files={"loki-mode-alerts.yml": rules},
        )
        eventually(
            lambda: len(server.query("count_over_time(loki_session_status[1m]) > 6")) == 1,
            within_s=30,
            what="some evaluations of the running session",
        )
        before = server.query('ALERTS{alertname=~"LokiSessionDown|Tallyship.*"}')
        runner.kill()
        runner.wait()
        (fired,) = eventually(
            lambda: server.query('ALERTS{alertname="LokiSessionDown", alertstate="firing"}'),
            within_s=60,
            what="LokiSessionDown fires",
        )

    assert before == []
    assert fired["metric"]["project"] == "shop"
    assert [rule["lastError"] for rule in rules_of(server) if rule["health"] != "ok"] == []
    _, messages = slack
    message = eventually(lambda: messages, within_s=30, what="Slack is told")[0]
    assert message["channel"] == "#loki-alerts"
    (attachment,) = message["attachments"]
    assert attachment["title"] == "FIRING: LokiSessionDown"
    assert attachment["text"].strip() == (
        "Loki Mode: Loki Mode session of shop is not running."
        " The session has been stopped for more than 5 minutes."
    )


def test_the_rules_are_evaluated_without_an_error_on_an_exporter_of_one_directory(
    prometheus: Callable[..., Prometheus], exporter: Callable[..., Any], tmp_path: pathlib.Path
) -> None:
    """Without the label `project` and with all metrics of a session, no rule meets a many-to-many match."""
    rules = RULES.replace("interval: 30s", "interval: 1s")
    with running_session(tmp_path / ".loki", project="shop"):
        served = exporter("--loki-dir", str(tmp_path / ".loki"), "--cache-seconds", "0")
        server = prometheus(shipped("prometheus.yml", served), files={"loki-mode-alerts.yml": rules})
        eventually(
            lambda: len(server.query("count_over_time(loki_cost_usd[1m]) > 3")) == 1,
            within_s=30,
            what="some evaluations",
        )
        found = {rule["name"]: (rule["health"], rule.get("lastError")) for rule in rules_of(server)}

    assert len(found) == 10
    assert set(found.values()) == {("ok", None)}
