"""train_offline/: corpora, the training loop, and the bridge to published checkpoints. Imports solver and kernels."""
