"""From tasks to two attempts: the models, one training step, test-time fitting, prediction, voting and scoring."""

import time

STARTED = time.monotonic()  # before any other import: where the clock of a command line starts
