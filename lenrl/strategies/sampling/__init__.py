"""Rules for how many prompts to sample and which groups to keep, one a file."""
