"""Sweeps: every trial a launch of its own, a ledger that a rerun continues.

    plan           the trials, and the sweep's folder
    search         trials drawn by Optuna instead of a grid
    scheduler      starts trials, watches them, answers to signals
    trial_process  one trial: a small process that outlives a killed sweep and writes the ledger
    ledger         events of the trials, a line each
    measured       accuracy and tokens of a trial, from its run's files
    early_stop     rules that end a trial early
    progress       the display while the sweep runs
    outcomes       table, files and advice at the end

Nothing is imported here: a trial's process lives as long as the trial and must stay small.
"""
