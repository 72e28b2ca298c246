"""The fixtures of whole runs."""

from tests.jobs.conftest import command, quick_compilation, reports_off, standard_promotion

__all__ = ["command", "quick_compilation", "reports_off", "standard_promotion"]
