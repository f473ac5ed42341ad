"""Sweeps: every trial a launch of its own, a ledger that a rerun continues.

    plan      which trials there are, and the sweep's folder
    search    trials drawn by Optuna instead of a grid
    run       starts trials, watches them, answers to signals
    guard     one trial: a small process that outlives a killed sweep and writes the ledger
    ledger    what has happened, one line an event
    figures   accuracy and tokens of a trial, from its run's files
    hopeless  when a trial is stopped early
    progress, results     what a user sees while it runs, and at the end

Nothing is imported here: a guard lives beside every trial and must stay small.
"""
