"""What is wanted: settings, where they come from, and the sources."""
