"""The seam with TRL: the only place that knows the trainer and the process group."""
