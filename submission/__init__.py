"""Making submissions: on Kaggle, in batch runs, by merging; and packages for Kaggle. Imports only solver."""
