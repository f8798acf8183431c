"""Whose turn it is, and a chunk at a time from a file to the queues."""
