"""The fixtures of whole runs."""

from tests.jobs.conftest import command, reports_off, standard_promotion

__all__ = ["command", "reports_off", "standard_promotion"]
