"""`python -m gdro.cli` is the command `gdro`."""

import sys

from gdro.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
