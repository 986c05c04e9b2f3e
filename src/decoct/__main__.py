"""`python -m decoct`."""

import sys

from decoct.cli import main

sys.exit(main())
