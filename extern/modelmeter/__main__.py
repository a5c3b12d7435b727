"""`python -m modelmeter` is the command `modelmeter`."""

import sys

from modelmeter.cli.main import main

sys.exit(main())
