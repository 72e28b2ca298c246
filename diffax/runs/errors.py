"""Errors that the person who typed the command can mend."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """One line for a person: what was expected, what came, what to do. launch.py prints it and exits with 2."""


class InUse(UserError):
    """A run directory that another process trains in."""


class Preempted(Exception):
    """A run that was asked to stop and has saved: one line for a person. launch.py prints it and exits with 75."""


@contextlib.contextmanager
def for_people() -> Iterator[None]:
    """Turns the ValueErrors of building things from a configuration, and failed reads and writes, into UserErrors."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error).replace("\n", "\\n")) from error  # the name of a file may hold one
    except OSError as error:
        what = error.strerror or str(error)
        raise UserError(f"{error.filename}: {what}" if error.filename else what) from error
