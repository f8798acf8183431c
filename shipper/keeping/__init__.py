"""What is kept in the state directory: positions, dead letters, the lock."""
