"""The ship: tails AI agents' JSONL files and pushes every line to Grafana Loki once."""
