"""lenrl: reinforcement learning that makes reasoning models think less and stay right."""

__version__ = "0.1.0"
