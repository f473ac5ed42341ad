"""Rules that pay completions, one a file."""
