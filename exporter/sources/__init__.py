"""The places numbers come from: one folder a source."""
