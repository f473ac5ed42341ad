"""Accuracy and tokens of models on the problems of a task, with intervals."""
