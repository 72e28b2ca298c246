"""Names, shapes and dtypes of the arrays in a pytree, and in which of them two pytrees differ."""

from typing import Any

import jax


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def describe(tree: Any) -> dict[str, str]:
    """'params/w' -> 'float32 (3, 4)' for every leaf; typed keys as the integers they are stored as."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _describe_leaf(leaf) for path, leaf in leaves}


def _describe_leaf(leaf: Any) -> str:
    if not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    stored = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    return f"{stored.dtype} {tuple(stored.shape)}"


def differences(saved: dict[str, str], expected: dict[str, str]) -> list[str]:
    """One line for every name that is described otherwise in the two."""
    names = list(dict.fromkeys([*expected, *saved]))
    return [
        f"expected {name} {expected.get(name, 'absent')}, came {saved.get(name, 'absent')}"
        for name in names
        if expected.get(name) != saved.get(name)
    ]
