"""The setting data.path: the path of a data source in the file system."""

import pathlib


def required(path: str, name: str) -> pathlib.Path:
    """Expands ~ in the path of a data source that needs one.

    Args:
      name: the value of data.name that selects this source, for the error message.

    Raises:
      ValueError: an empty path.
    """
    if not path:
        raise ValueError(f"data.name = {name!r} needs data.path: --config.data.path=...")
    return pathlib.Path(path).expanduser()
