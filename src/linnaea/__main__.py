"""`python -m linnaea` is the command `linnaea`."""

import sys

from linnaea.cli import main

if __name__ == "__main__":
    sys.exit(main())
