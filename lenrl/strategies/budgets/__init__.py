"""Rules that decide before sampling what a row is told and how long it may get, one a file."""
