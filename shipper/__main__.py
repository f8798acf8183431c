"""`python -m shipper` and the console script."""

from shipper.cli import main

if __name__ == "__main__":
    main()
