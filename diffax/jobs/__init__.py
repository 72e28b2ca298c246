"""Jobs: one file for each --mode of launch.py; each builds, runs and writes a run directory."""

from diffax.jobs.errors import Preempted, UserError

__all__ = ["Preempted", "UserError"]
