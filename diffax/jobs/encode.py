"""--mode encode: encodes the texts of a data set into the cache, so that training needs no encoder."""

import argparse
import pathlib

from ml_collections import ConfigDict

from diffax import build_conditions, build_data
from diffax.data.conditioned import Conditioned
from diffax.reporting import progress
from diffax.runs.errors import UserError, for_people


def flags(parser: argparse.ArgumentParser) -> None:
    """This mode has no flags of its own."""


def run(config: ConfigDict, workdir: pathlib.Path, args: argparse.Namespace) -> None:
    """Encodes every text of both splits that config.conditions asks for and that is not in the cache.

    Raises:
      UserError: no condition of texts, data that are missing, or an encoder that is not installed.
    """
    with for_people():
        sources = build_conditions.texts(config)
        if not sources:
            raise UserError("--mode encode needs a condition of texts: --config.conditions.text=text")
        train, held_out = build_data.splits(config, report=progress.downloads())
        for name, source in sources.items():
            encoder = source.open_encoder()
            print(f"{name}: {encoder.name}, version {encoder.version}, {source.form}")
            for examples in (train, held_out):
                assert isinstance(examples, Conditioned)
                column = examples.stored[name]
                have = len(examples) - column.num_missing
                print(f"  {examples.name}: {have:,} of {len(examples):,} examples have one; {column.kind}")
