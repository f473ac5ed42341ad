"""Rules that decide before sampling what is added to a prompt and how long its completion may get, one a file."""
