"""`python -m tests.measured`: see `tests.measured.program`."""

import sys

from tests.measured.program import main

if __name__ == "__main__":
    sys.exit(main())
