"""What the exporter and the shipper share: models and the healthcheck protocol."""
