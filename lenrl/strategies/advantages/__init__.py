"""Rules that turn rewards into pushes, one a file."""
