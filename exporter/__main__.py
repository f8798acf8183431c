"""Runs the command line: `python -m exporter` and the script `tallyship-exporter`."""

from exporter.cli import main

if __name__ == "__main__":
    main()
