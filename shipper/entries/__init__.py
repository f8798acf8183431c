"""What a line becomes: its stream, its stamp, its parts, and its place in the ledger. Pure."""
