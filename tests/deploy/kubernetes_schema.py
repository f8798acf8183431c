"""Run with tests/deploy/tools: prints what of the manifests on stdin Kubernetes' own schemas do not know."""

from __future__ import annotations

import sys

import kubernetes_validate
import yaml

for manifest in yaml.safe_load_all(sys.stdin):
    try:
        kubernetes_validate.validate(manifest, sys.argv[1], strict=True)
    except kubernetes_validate.ValidationError as error:
        print("/".join(map(str, error.path)), error.message[:200])  # noqa: T201 (that is its answer)
