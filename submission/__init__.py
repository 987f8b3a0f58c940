"""submission/: everything around submission.json on Kaggle and in batch runs. Imports solver only."""
