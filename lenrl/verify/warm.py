"""Preloaded into the fork server, whose import does the work once: a replaced worker then starts at once."""

from lenrl.verify.worker import warm_up

warm_up("math")
