"""Proof that all arrived: what is on disk against what Loki holds, and the way back for what is missing."""
