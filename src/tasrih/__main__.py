"""`python -m tasrih` is the `tasrih` command."""

import sys

from tasrih.cli import main

if __name__ == "__main__":
    sys.exit(main())
