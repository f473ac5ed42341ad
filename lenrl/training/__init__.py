"""Training: the seam with TRL, and what it calls."""
