"""Examples with named conditions: each batch has, beside x, the values of its examples' conditions (diffax.conditions).

Values are kept once: a table of them, and for every example the rows of the table that are its own. An example with
several alternatives, the wordings of a caption, is given one of them at random in every step; one without any is null.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int64

from diffax import arrays
from diffax.conditions import Classes, Kind, Tokens, TokenSequence, Vector
from diffax.data.dataset import listed
from diffax.data.examples import Examples


class Alternatives(NamedTuple):
    """Values of a condition, arrays (batch, most, ...), of which the first `count` (batch,) of an example are real."""

    values: Any
    count: Any


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Column:
    """The values of one condition for all examples.

    table: arrays (m + 1, ...) of a kind's values; the last row is the null value.
    rows: int32 (n, most), the rows of the table that are an example's alternatives, filled up with the null row.
    count: int32 (n,), how many they are; 1 for an example without any, whose only one is null.
    """

    table: Any
    rows: Any
    count: Any
    kind: Kind = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, kind: Kind, values: Any, alternatives: Sequence[Sequence[int]]) -> "Column":
        """The column of values, arrays (m, ...), and the numbers of every example's alternatives."""
        null = jax.tree.map(lambda leaf, like: _like(leaf, like.shape[1:], like.dtype), kind.null(1), values)
        table = jax.tree.map(lambda leaf, last: np.concatenate([leaf, last]), values, null)
        num_values, most = len(jax.tree.leaves(values)[0]), max([1, *map(len, alternatives)])
        rows = np.full((len(alternatives), most), num_values, np.int32)
        for index, numbers in enumerate(alternatives):
            rows[index, : len(numbers)] = numbers
        return cls(table, rows, np.array([max(1, len(numbers)) for numbers in alternatives], np.int32), kind)

    @property
    def digest(self) -> str:
        """A checksum of all values, and of which example has which."""
        content = hashlib.sha256()
        for leaf in jax.tree.leaves((self.table, self.rows, self.count)):
            content.update(np.ascontiguousarray(leaf).tobytes())
        return content.hexdigest()[:16]

    @property
    def num_missing(self) -> int:
        """How many examples have no value."""
        return int((np.asarray(self.rows)[:, 0] == len(jax.tree.leaves(self.table)[0]) - 1).sum())

    def gather(self, index: Any) -> Any:
        """The values of examples: of NumPy arrays inside NumPy, of JAX arrays inside jit, with equal bits."""
        if self.rows.shape[1] == 1:
            rows = self.rows[index, 0]
            return jax.tree.map(lambda leaf: leaf[rows], self.table)
        rows = self.rows[index]
        return Alternatives(jax.tree.map(lambda leaf: leaf[rows], self.table), self.count[index])


def chosen(keys: jax.Array, value: Any) -> Any:
    """One of the alternatives of every example, by its own key; a value without alternatives as it is."""
    if not isinstance(value, Alternatives):
        return value
    number = jax.vmap(lambda key, count: jax.random.randint(key, (), 0, count))(keys, value.count)
    return jax.tree.map(lambda leaf: jax.vmap(lambda one, i: jnp.asarray(one)[i])(leaf, number), value.values)


def first(value: Any) -> Any:
    """The first of the alternatives of every example; a value without alternatives as it is."""
    return jax.tree.map(lambda leaf: leaf[:, 0], value.values) if isinstance(value, Alternatives) else value


def _passed_on(name: str) -> Any:
    """A property that is the one of the plain examples."""
    return property(lambda self: getattr(self.plain, name))


@dataclasses.dataclass(frozen=True, eq=False)
class Conditioned:
    """Examples with conditions beside their labels; an `Examples` itself.

    plain: the examples without them.
    stored: the values of conditions by name.
    from_label: the names under which the labels are a condition.
    """

    plain: Examples
    stored: Mapping[str, Column]
    from_label: tuple[str, ...] = ()

    name = _passed_on("name")
    shape = _passed_on("shape")
    num_classes = _passed_on("num_classes")
    class_names = _passed_on("class_names")
    num_levels = _passed_on("num_levels")
    num_replaced = _passed_on("num_replaced")
    files_digest = _passed_on("files_digest")
    in_memory = _passed_on("in_memory")
    columns = _passed_on("columns")
    to_network_range = _passed_on("to_network_range")

    def __len__(self) -> int:
        return len(self.plain)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of all conditions by name."""
        num_classes = self.plain.num_classes
        labels = {name: Classes(num_classes) for name in self.from_label if num_classes is not None}
        return labels | {name: column.kind for name, column in self.stored.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of the examples, and how many of them have no value of a condition."""
        missing = {name: column.num_missing for name, column in self.stored.items()}
        return (
            *self.plain.notes,
            *(f"{count:,} of {len(self):,} have no {name}: null there" for name, count in missing.items() if count),
        )

    def batch(self, rows: Int64[np.ndarray, " rows"]) -> dict[str, Any]:
        """The batch of the examples, with the values of the conditions of those that are really there."""
        batch: dict[str, Any] = dict(self.plain.batch(rows))
        replaced = getattr(self.plain, "replacements", {})  # by the next good example
        index = np.array([replaced.get(int(row), row) for row in rows]) if replaced else np.asarray(rows)
        labels = dict.fromkeys(self.from_label, batch["label"]) if self.from_label else {}
        return batch | labels | {name: column.gather(index) for name, column in self.stored.items()}

    def validate(self) -> "Conditioned":
        """Returns self, or raises ValueError where the examples do, or a condition has another number of them."""
        self.plain.validate()
        for name, column in self.stored.items():
            if len(column.rows) != len(self):
                raise ValueError(f"{self.plain.name}: expected {len(self)} values of {name}, got {len(column.rows)}")
        return self


def of_vectors(content: Any) -> Column:
    """The column of a float32 array (n, size), or of a list of vectors (size,) and None, of which one at least is."""
    present = [row for row in content if row is not None]
    return Column.of(Vector(len(present[0])), np.stack(present).astype(np.float32), _one_each(content))


def of_sequences(content: Sequence[Any], most: int | None = None) -> Column:
    """The column of a list of float32 arrays (length_i, size) and None, one of them at least.

    most: vectors of a sequence that are kept, from the first one on.
    """
    present = [row[:most] for row in content if row is not None]
    return Column.of(Tokens(present[0].shape[1]), as_tokens(present), _one_each(content))


def as_tokens(sequences: Sequence[np.ndarray], length: int | None = None) -> TokenSequence:
    """Arrays (length_i, size) as one padded TokenSequence, of at least one vector."""
    length = max([1, length or 0, *map(len, sequences)])
    vectors = np.zeros((len(sequences), length, sequences[0].shape[1]), np.float32)
    mask = np.zeros((len(sequences), length), bool)
    for row, sequence in enumerate(sequences):
        vectors[row, : len(sequence)], mask[row, : len(sequence)] = sequence, True
    return TokenSequence(vectors, mask)


def column_of(examples: Examples, name: str, setting: str) -> Any:
    """The raw column of examples. Raises ValueError where there is none of that name."""
    columns = getattr(examples, "columns", {})
    if name not in columns:
        has = f"has the columns {listed(list(columns))}" if len(columns) else "has none"
        raise ValueError(f"{setting} = {name!r}: {examples.name} {has}")
    return columns[name]


def _one_each(content: Any) -> list[list[int]]:
    numbers = iter(range(len(content)))
    return [[] if row is None else [next(numbers)] for row in content]


def _like(null: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A null value of one example, padded to the shape of the others."""
    frame = [(0, 0), *((0, wanted - have) for wanted, have in zip(shape, null.shape[1:], strict=True))]
    return np.pad(null, frame).astype(dtype)
