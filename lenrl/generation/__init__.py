"""Completions from a model, wherever it runs."""
