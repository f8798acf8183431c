"""From queues of streams to Loki, and what its answers mean for the lines."""
