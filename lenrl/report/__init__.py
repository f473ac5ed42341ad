"""Pages, tables and cards of runs, sweeps and evaluations."""
