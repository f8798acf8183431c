from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Promtool = Callable[..., tuple[int, str]]

FOLDER = Path(__file__).parent.parent.parent / "deploy/prometheus"
VARIANTS = sorted(path.name for path in FOLDER.glob("prometheus*.yml"))


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """Give a copy of the folder with the secrets that the files name beside them."""
    shutil.copytree(FOLDER, tmp_path / "prometheus")
    (tmp_path / "prometheus/exporter-token").write_text("secret")
    (tmp_path / "prometheus/exporter-ca.crt").write_text("")
    return tmp_path / "prometheus"


def job(name: str) -> dict[str, Any]:
    """Return the one scrape job of a variant."""
    (found,) = yaml.safe_load((FOLDER / name).read_text("utf-8"))["scrape_configs"]
    assert isinstance(found, dict)
    return found


def test_the_documented_four_variants_are_there() -> None:
    """Basic, TLS, token and Kubernetes."""
    variants = ["prometheus-bearer.yml", "prometheus-kubernetes.yml", "prometheus-tls.yml", "prometheus.yml"]

    assert variants == VARIANTS


@pytest.mark.parametrize("name", VARIANTS)
def test_promtool_accepts_each_variant_with_its_rules(name: str, folder: Path, promtool: Promtool) -> None:
    """Each file is a whole configuration, and the rule file it names is found and correct."""
    code, printed = promtool("check", "config", "--lint=all", "--lint-fatal", folder / name)

    assert code == 0, printed
    assert "1 rule files found" in printed


@pytest.mark.parametrize("name", VARIANTS)
def test_no_variant_sets_a_project_that_would_hide_the_exporters_own(name: str) -> None:
    """A target label `project` turns the exporter's own into `exported_project`; no file sets one."""
    found = job(name)
    labels = {label for target in found.get("static_configs", ()) for label in target.get("labels", {})}
    labels |= {rule["target_label"] for rule in found.get("relabel_configs", ()) if "target_label" in rule}

    assert "project" not in labels


@pytest.mark.parametrize("name", VARIANTS)
def test_the_job_is_called_as_the_alert_on_a_missing_target_expects(name: str) -> None:
    """`TallyshipTargetMissing` asks for up{job="loki-mode"}, and `absent` would fire for another name."""
    assert job(name)["job_name"] == "loki-mode"


def test_the_secrets_are_in_files_and_certificates_are_checked() -> None:
    """No token stands in a configuration, and no variant takes any certificate."""
    assert job("prometheus-bearer.yml")["authorization"] == {
        "type": "Bearer",
        "credentials_file": "exporter-token",
    }
    assert job("prometheus-tls.yml")["tls_config"] == {"ca_file": "exporter-ca.crt"}


def test_the_address_of_a_pod_is_made_for_both_kinds_of_ip(promtool: Promtool, tmp_path: Path) -> None:
    """The relabelling of the Kubernetes variant, run by Prometheus' engine on the labels of some pods."""
    pods = [
        {"ip": "10.0.3.4", "app": "loki-mode", "phase": "Running"},
        {"ip": "fd00::1:2", "app": "loki-mode", "phase": "Running"},
        {"ip": "10.9.9.9", "app": "other", "phase": "Running"},
        {"ip": "10.9.9.8", "app": "loki-mode", "phase": "Failed"},
    ]
    as_discovered = {
        "ip": "__meta_kubernetes_pod_ip",
        "app": "__meta_kubernetes_pod_label_app",
        "phase": "__meta_kubernetes_pod_phase",
    }
    found = job("prometheus-kubernetes.yml")
    del found["kubernetes_sd_configs"]
    renamed = [{"source_labels": [old], "target_label": new} for old, new in as_discovered.items()]
    hidden = [{"regex": "ip|app|phase", "action": "labeldrop"}]
    found["relabel_configs"] = renamed + hidden + found["relabel_configs"]
    found["file_sd_configs"] = [{"files": ["pods.yml"]}]
    listed = [{"targets": [f"pod-{n}:1"], "labels": labels} for n, labels in enumerate(pods)]
    (tmp_path / "pods.yml").write_text(yaml.safe_dump(listed))
    (tmp_path / "config.yml").write_text(yaml.safe_dump({"scrape_configs": [found]}))

    # It looks for as long as the timeout says, also when it has found all there is.
    code, printed = promtool(
        "check", "service-discovery", "--timeout=1s", tmp_path / "config.yml", "loki-mode"
    )

    assert code == 0, printed
    targets = [target["labels"] for target in yaml.safe_load(printed) if target.get("labels")]
    assert {target["__address__"] for target in targets} == {"10.0.3.4:57374", "[fd00::1:2]:57374"}
