"""From tasks to two attempts: the models, one training step, test-time fitting, prediction, voting and scoring."""
