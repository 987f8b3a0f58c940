"""Making submissions: on Kaggle, in batch runs, by merging; and packages for Kaggle. Imports only solver."""

import solver  # noqa: F401 (first: the clock of a command line starts there)
