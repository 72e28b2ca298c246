"""The fixtures of whole runs."""

from tests.jobs.conftest import command, standard_promotion

__all__ = ["command", "standard_promotion"]
