"""Sample sets: samples of a trained model on disk, as bytes, in shards that are filled, resumed and extended.

    SET/set.json            what made the samples
        00000000-00000768.npz   samples (n, *sample_shape), uint8 for images and float32 for points, and labels (n,)

A set of pairs (data.pairs) has float32 samples and the noise (n, *sample_shape) that each of them started from.
Sample i is a function of (parameters, sampler, seed, i) and the label policy alone. So a set that was interrupted
continues where it stopped, and one of 1,000 samples becomes one of 50,000 by drawing the other 49,000. Its bits are the
same for the same number of samples a device draws at once; for another number pixels differ by one grey level at most.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from diffax import data, distributed, streams
from diffax.conditions import TokenSequence
from diffax.data import dataset, shards
from diffax.data.examples import Examples
from diffax.reporting import images
from diffax.runs import asked, lock
from diffax.runs import directory as run_directory
from diffax.runs.asked import Asked
from diffax.runs.errors import UserError, for_people
from diffax.runs.trained import Trained

FORMAT = 1
FOLDER = "generated"  # of the sample sets of a run
# Of how the labels of a class-conditional model are chosen; or the number of one class.
EQUAL, DRAWN = "equal", "drawn"
_SHARD = 1000  # samples, about
# Where that takes longer, the samples drawn so far are written, so that a kill loses no more than this.
_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, eq=False)
class SampleSet:
    """Samples on disk.

    name: for messages. description: what made the samples, the content of set.json; empty for foreign files.
    examples: the samples, raw: uint8 images or float32 points, with their labels, if any; pairs as data.pairs has them.
    """

    name: str
    description: dict[str, Any]
    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, size: int, num_samples: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Batches {"x": (n, *shape), "label": (n,)} of the first num_samples samples, in order; None for all."""
        stop = len(self) if num_samples is None else min(num_samples, len(self))
        for start in range(0, stop, size):
            yield self.examples.batch(np.arange(start, min(start + size, stop)))


def sample_set(path: str | pathlib.Path) -> SampleSet:
    """Opens a sample set; also a .npz or .npy file of samples, or a folder of images, of any codebase.

    Raises:
      UserError: a path with none of them, or files that cannot be read.
    """
    path = pathlib.Path(path).expanduser()
    with for_people():
        if (path / shards.DESCRIPTION).exists():
            return _opened(path)
        if not path.exists():
            raise UserError(f"{path}: there is nothing; expected a sample set, a .npz or .npy file or images")
        if path.is_dir():
            source = data.folder.open_folder("all", path=str(path), classes="none")
            return SampleSet(path.name, {}, data.source.load(source, skip=False))
        return SampleSet(path.stem, {}, data.files.load_arrays("all", path=str(path)))


def describe(
    trained: Trained,
    *,
    seed: int,
    labels: str | int,
    average: int | str | None = None,
    wanted: Asked | None = None,
    with_noise: bool = False,
) -> dict[str, Any]:
    """What makes the samples of a set, as values of JSON: two sets of the same description have the same samples.

    Args:
      labels: EQUAL for each class in turn, DRAWN for classes at random, or the number of a class.
      wanted: what samples are drawn under, instead of labels.
      with_noise: whether the set keeps the initial noise, and therefore samples as floats.
    """
    as_floats = with_noise or trained.num_levels is None
    pairs = {"noise": "initial, standard normal", "num_classes": trained.num_classes} if with_noise else {}
    told = {} if wanted is None else {"conditions": wanted.record(), "encoders": dict(trained.model.data.encoders)}
    return (
        told
        | pairs
        | run_directory.computed_in(trained.config)
        | {
            "format": FORMAT,
            "step": trained.step,
            "parameters": parameters_digest(trained.params(average)),
            "average": trained.average_name(average),
            "sampler": json.loads(json.dumps(trained.config.sampler.to_dict())),
            "seed": seed,
            "labels": labels if trained.num_classes is not None and wanted is None else None,
            "shape": list(trained.sample_shape),
            "num_levels": trained.num_levels if as_floats else 256,
            "rounding": None if as_floats else images.ROUNDING,
            "class_names": None if trained.class_names is None else list(trained.class_names),
        }
    )


def parameters_digest(params: Any) -> str:
    """A checksum of parameters, which does not depend on how they are stored."""
    content = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        content.update(jax.tree_util.keystr(path).encode())
        content.update(np.ascontiguousarray(leaf).tobytes())
    return content.hexdigest()[:16]


def directory_name(description: dict[str, Any]) -> str:
    """A name that differs for all that makes different samples: what can be read, and a hash of the description."""
    labels, made_by = description["labels"], sampler_words(description["sampler"], description["average"])
    label = "" if labels in (None, EQUAL) else f"_label{labels}" if isinstance(labels, int) else f"_labels-{labels}"
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:6]
    label += _slug(description["conditions"]) if "conditions" in description else ""
    label += f"_{description['dtype']}" if "dtype" in description else ""
    return f"{description['step']:08d}_{made_by}{label}_seed{description['seed']}_{digest}"


def sampler_words(sampler: Mapping[str, Any], average: str) -> str:
    """Name, steps and guidance of config.sampler and the average, for the names of directories."""
    guided = f"_guidance{sampler['guidance']['scale']:g}" if "scale" in sampler["guidance"] else ""
    return f"{sampler['name'].replace(':', '-')}{sampler['num_steps']}{guided}_ema-{average}"


def _slug(record: dict[str, Any]) -> str:
    """The first words of the first prompt, for the name of a directory."""
    words = "-".join(re.findall("[a-z0-9]+", str(record.get("prompts", ["conditions"])[0]).lower()))[:32].strip("-")
    return f"_{words or 'prompt'}"


def fill(
    trained: Trained,
    root: pathlib.Path,
    num_samples: int,
    *,
    seed: int = 0,
    labels: str | int = EQUAL,
    batch_size: int = 256,
    average: int | str | None = None,
    wanted: Asked | None = None,
    with_noise: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> pathlib.Path:
    """Draws the samples that a set in root lacks, up to num_samples of them; returns the directory of the set.

    Of several processes all have to call it; the first one writes.

    Args:
      batch_size: drawn at once, on all devices together.
      wanted: what samples are drawn under, instead of labels.
      with_noise: keeps samples as floats with the noise that they started from: pairs for reflow and distillation.
      report: called with the number of samples there are, after every batch.

    Raises:
      UserError: another process fills the same set; or pairs by a sampler that adds noise.
      FloatingPointError: a sample that is not finite, naming it; those before it are kept.
    """
    if with_noise:
        _check_deterministic(trained)
    description = describe(trained, seed=seed, labels=labels, average=average, wanted=wanted, with_noise=with_noise)
    directory, first = root / directory_name(description), distributed.is_first()
    have = shards.count(directory)
    distributed.meet("counted")
    if have >= num_samples:
        return directory
    size = -(-min(batch_size, num_samples) // trained.mesh.size) * trained.mesh.size
    start, per_shard = have // size * size, max(_SHARD // size, 1) * size
    told, asked_labels = wanted, None
    if wanted is None:
        asked_labels = sample_labels(trained, num_samples, labels, seed)
        told = asked.of_labels(trained.model, asked_labels)
    elif trained.model.class_condition in wanted.values:
        asked_labels = wanted.rows(np.arange(num_samples)).values[trained.model.class_condition]
    batches = trained.batches(start, num_samples, size, seed=seed, wanted=told, average=average)
    with lock.held(directory, what="sample set") if first else contextlib.nullcontext():
        if first:
            run_directory.write_json(directory / shards.DESCRIPTION, description)
        parts, written = list[np.ndarray](), time.monotonic()
        for x in batches:
            parts.append(x if description["rounding"] is None else images.to_uint8(x))
            done = start + sum(map(len, parts))
            report(done)
            is_full = done - start >= per_shard or done == num_samples
            if first and (is_full or time.monotonic() - written >= _SECONDS):
                more = _beside_pairs(trained, np.arange(start, done), seed, told) if with_noise else {}
                _write(directory, start, np.concatenate(parts), asked_labels, more)
                written = time.monotonic()
            if is_full:
                start, parts = done, []
    distributed.meet("filled")
    return directory


def sample_labels(trained: Trained, num_samples: int, labels: str | int, seed: int) -> np.ndarray | None:
    """The labels of the samples from number 0 on, int32 (num_samples,); None for a model without classes.

    Raises:
      UserError: a label the model does not have, or a label for a model without classes.
    """
    num_classes = trained.num_classes
    if labels == EQUAL or (labels == DRAWN and num_classes is None):
        return trained.model.labels(num_samples)
    if labels != DRAWN or num_classes is None:
        return trained.model.labels(num_samples, labels)
    key = jax.random.fold_in(jax.random.key(seed), streams.SAMPLE_LABEL)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, np.arange(num_samples, dtype=np.int32))
    drawn = jax.vmap(lambda key: jax.random.randint(key, (), 0, num_classes))(keys)
    return np.asarray(drawn, np.int32)


def _check_deterministic(trained: Trained) -> None:
    """Raises UserError for a sampler that adds noise."""
    table = trained.model.sampler_table()
    if table.is_stochastic:
        raise UserError(
            f"pairs need a sampler that makes each sample of its initial noise alone, and {table.name} adds noise: use "
            "euler, heun or another deterministic one"
        )


def _beside_pairs(trained: Trained, index: np.ndarray, seed: int, told: Asked | None) -> dict[str, np.ndarray]:
    """The noise of the pairs of these numbers, and the values of conditions that are no labels."""
    more = {"noise": trained.initial_noise(index if told is None else told.noise(index), seed=seed)}
    for name, value in {} if told is None else told.rows(index).values.items():
        if isinstance(value, TokenSequence):
            more |= {name: value.vectors, f"{name}_mask": value.mask}
        elif name != trained.model.class_condition:
            more[name] = value
    return more


def _write(
    directory: pathlib.Path,
    start: int,
    samples: np.ndarray,
    labels: np.ndarray | None,
    more: dict[str, np.ndarray],
) -> None:
    """Writes a shard, and removes the shorter one that it replaces."""
    stop = start + len(samples)
    arrays = {"samples": samples} | more | ({} if labels is None else {"labels": labels[start:stop]})
    images.save_npz(directory / shards.filename(start, stop), **arrays)
    for other_start, other_stop, path in shards.found(directory):
        if other_start >= start and other_stop <= stop and (other_start, other_stop) != (start, stop):
            path.unlink()


def _opened(directory: pathlib.Path) -> SampleSet:
    description = json.loads((directory / shards.DESCRIPTION).read_text())
    if description.get("format") != FORMAT:
        raise UserError(f"{directory} is a sample set of another version of diffax: draw it anew")
    if "noise" in description:
        return SampleSet(directory.name, description, data.pairs.load_pairs("all", path=str(directory)))
    parts = list(shards.read(directory))
    if not parts:
        raise UserError(f"{directory} has no samples yet: the command that began it draws them")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names, labels = description["class_names"], joined.get("labels")
    num_classes = None if labels is None else len(names) if names is not None else int(labels.max()) + 1
    examples = dataset.Dataset(
        name=directory.name,
        examples=joined["samples"],
        labels=labels,
        num_classes=num_classes,
        num_levels=description["num_levels"],
        class_names=None if labels is None or names is None else tuple(names),
    )
    return SampleSet(directory.name, description, examples.validate())
