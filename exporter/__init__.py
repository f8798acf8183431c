"""The tally: a Prometheus collector that reads AI agents' flat files on each scrape."""
