"""A method without a model: checks, estimates, scores of logged rollouts, reward hacks."""
