"""What is done with runs and models: evaluate, score, sweep, compare, report."""
