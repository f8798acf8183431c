"""How files that somebody else writes are read: safely, only what is new, and held while torn."""
