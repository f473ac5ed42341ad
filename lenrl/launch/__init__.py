"""Starts a run's processes in its folder and sees them to their end."""

from __future__ import annotations

from lenrl.launch.command import check, command
from lenrl.launch.folder import RunFolder
from lenrl.launch.run import supervise

__all__ = ["RunFolder", "check", "command", "supervise"]
