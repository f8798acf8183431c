"""Finding files and reading them, whatever happens to them meanwhile."""
