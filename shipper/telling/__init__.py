"""What the shipper says of itself: logs, metrics, health, pages, systemd."""
