"""The lock of a run directory: one training process at a time."""

import contextlib
import datetime
import errno
import os
import pathlib
import platform
import warnings
from collections.abc import Iterator
from typing import IO

from diffax.runs.errors import InUse

FILENAME = "run.lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def held(workdir: pathlib.Path, filename: str = FILENAME, *, what: str = "--workdir") -> Iterator[None]:
    """Holds the lock of workdir (the file of that name in it) while the block runs; makes the directory.

    what: the directory is, for the message.

    An flock on a file that names its holder. The kernel releases it however the process ends, kill -9 included, so that
    a file left behind blocks nobody. It works between the processes of one machine, and between machines where the file
    system passes locks on (NFS does, Lustre if mounted with flock). Where there are no locks at all (some object stores
    mounted as disks, Windows) a warning says so. Readers need no lock.

    Raises:
      InUse: another process holds it; the line says which, where and since when.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / filename
    with _opened(path, what) as file:
        file.truncate(0)
        now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        file.write(f"process {os.getpid()} on {platform.node()} since {now}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _opened(path: pathlib.Path, what: str) -> IO[str]:
    """The file at path, locked."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115, returned
        try:
            _lock(file, what)
            # It may be one that its last holder has just removed.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()
        except BaseException:
            file.close()
            raise


def _lock(file: IO[str], what: str) -> None:
    workdir = pathlib.Path(file.name).parent
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise InUse(f"{what} {workdir} is in use by {holder}: wait for it, or choose another") from None
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        warnings.warn(f"{workdir}: no locks here ({error}): see to it that only one process trains in it", stacklevel=2)
