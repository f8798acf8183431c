# The images the tests ask for, and where their binaries are kept. Sourced by `make` and `promtool`.
# shellcheck shell=bash disable=SC2034
PROMETHEUS_VERSION=3.12.0 # Go calls the same release v0.312.0, see prometheus/go.mod
LOKI_VERSION=3.7.8        # must be the version in loki/go.mod

PROMETHEUS_IMAGE=prom/prometheus:v$PROMETHEUS_VERSION
LOKI_IMAGE=grafana/loki:$LOKI_VERSION

case $(uname -m) in
  x86_64) GOARCH=amd64 ;;
  aarch64) GOARCH=arm64 ;;
  *) GOARCH=$(uname -m) ;;
esac

CACHE=${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/tallyship/images
PROMETHEUS_BIN=$CACHE/prometheus-$PROMETHEUS_VERSION-$GOARCH
LOKI_BIN=$CACHE/loki-$LOKI_VERSION-$GOARCH
