"""Several runs side by side: what was measured of each, on one page.

sources    folders to entries: runs, sweeps, evaluations of models from elsewhere
figures    entries to plots
reader     the same prompts as different models answered them
report     all of it as one HTML file, as CSV, as pictures
"""
