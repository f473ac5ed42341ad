"""Rules that turn rewards into advantages, one a file."""
