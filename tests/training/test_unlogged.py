import json

import jax.numpy as jnp
import numpy as np

from diffax.training import unlogged


def test_every_number_comes_back_as_it_was():
    values = np.array([0.1, 1e-45, np.nan, np.inf, -0.0, 3.0000002], np.float32)
    steps = [{"loss": jnp.asarray(value), "bins": jnp.array([value, 1 / 3]), "count": jnp.int32(7)} for value in values]
    back = unlogged.from_json(json.loads(json.dumps(unlogged.to_json(steps))))
    assert len(back) == len(steps)
    for before, after in zip(steps, back, strict=True):
        assert {name: (x.dtype, x.shape, x.tobytes()) for name, x in after.items()} == {
            name: (x.dtype, x.shape, np.asarray(x).tobytes()) for name, x in before.items()
        }


def test_none_are_none():
    assert unlogged.from_json(unlogged.to_json([])) == []
