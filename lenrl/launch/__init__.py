"""Starts a run's processes in its folder and sees them to their end.

Nothing is imported here: the keeper lives beside every run and must stay small.
"""
