"""`python -m solver` is `arc-trm`."""

import sys

from solver.cli import main

sys.exit(main())
