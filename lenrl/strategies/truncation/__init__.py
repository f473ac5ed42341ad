"""Rules that shorten completions after sampling, one a file."""
