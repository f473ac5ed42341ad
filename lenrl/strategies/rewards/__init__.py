"""Rules that reward completions, one a file."""
