"""config.sampler: every sampler with every option, grids, guidance, epsilon scaling, thresholding and the average."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build, build_sampler, networks, processes, samplers, schedules, sharding
from diffax.conditions import GUIDANCE as GUIDANCE_KINDS
from diffax.conditions import SPAN, Classes, Number, Vector
from diffax.denoisers import time_inputs
from diffax.runs import DataDescription, Model, Trained
from tests.settings.changed import assert_complete, changed, chosen

TIMES = np.linspace(1.0, 0.0, 13)
EDM = {"churn": 2.0, "churn_range": (0.3, 4.0), "noise_scale": 1.01, "second_order": False}
DPM = {"order": 3, "predict": "eps", "tau": 0.5, "lower_order_final": False}
SA = {
    "predictor_order": 3,
    "corrector_order": 1,
    "tau": 0.5,
    "predict": "eps",
    "lower_order_final": False,
}
# Name, options, the sampler.
SAMPLERS = [
    ("ddim", {"eta": 0.4}, samplers.ddim),
    ("ddpm", {"variance": "large"}, samplers.ddpm),
    ("euler", {"variable": "t"}, samplers.euler),
    ("euler", {"variable": "log_snr", "predict": "eps"}, samplers.euler),
    ("euler_ancestral", {}, samplers.euler_ancestral),
    ("euler_maruyama", {}, samplers.euler_maruyama),
    ("heun", {"variable": "t"}, samplers.heun),
    ("heun", {"variable": "log_snr", "predict": "eps"}, samplers.heun),
    ("midpoint", {"variable": "t"}, samplers.midpoint),
    ("midpoint", {"variable": "log_snr", "predict": "eps"}, samplers.midpoint),
    ("edm", EDM, samplers.edm),
    ("adams", {"order": 3, "predict": "eps", "start": "singlestep", "lower_order_final": True}, samplers.adams),
    ("dpm_solver", {"order": 3, "predict": "x_0"}, samplers.dpm_solver),
    ("dpm_solver_multistep", DPM, samplers.dpm_solver_multistep),
    ("dpm_solver_multistep", {"weights": "exact"}, samplers.dpm_solver_multistep),
    ("unipc", {"order": 2, "variant": "bh1", "predict": "eps"}, samplers.unipc),
    ("unipc", {"lower_order_final": False}, samplers.unipc),
    ("sa_solver", SA, samplers.sa_solver),
    ("sa_solver", {"weights": "published"}, samplers.sa_solver),
    ("lms", {"order": 2}, samplers.lms),
    ("ipndm", {"order": 2}, samplers.ipndm),
    ("pndm", {}, samplers.pndm),
    ("consistency", {}, samplers.consistency),
    ("restart", {"restarts": ((0.25, 0.5, 3, 2),), "second_order": False}, samplers.restart),
    ("repaint", {"jump_length": 3, "resamples": 2}, samplers.repaint),
    ("ancestral", {}, samplers.ancestral),
    ("flow_map", {"gamma": 0.5}, samplers.flow_map),
]


FIELDS = dataclasses.fields(samplers.SamplerTable)


def table_of(config, schedule=None):
    schedule = build.schedule(config) if schedule is None else schedule
    return build_sampler.sampler_table(config, schedule, processes.V())


def differing(ours, expected):
    """The fields in which two tables differ."""
    pairs = {field.name: (getattr(ours, field.name), getattr(expected, field.name)) for field in FIELDS}
    return [name for name, (mine, theirs) in pairs.items() if not np.array_equal(mine, theirs)]


@pytest.mark.parametrize(("name", "options", "sampler"), SAMPLERS)
def test_sampler(name, options, sampler):
    table = table_of(chosen("sampler", name, options, sampler__num_steps=12))
    assert differing(table, sampler(schedules.Cosine(), TIMES, **options)) == []
    for left_out in options:  # otherwise this case would not notice that the option is ignored
        others = {key: value for key, value in options.items() if key != left_out}
        assert set(differing(table, sampler(schedules.Cosine(), TIMES, **others))) - {"name"}, left_out


def test_the_steps_of_a_schedule_that_ends_at_sigma_min():
    """EDM's N counts the step to sigma = 0 (arXiv:2206.00364): gamma = churn / N, on N - 1 intervals and one row."""
    edm = {"schedule": "variance_exploding", "schedule.sigma_min": 0.1, "schedule.sigma_max": 10.0}
    options = {"sampler": "edm", "sampler.churn": 1.2, "sampler.num_steps": 6, "sampler.grid": "karras"}
    table = table_of(changed(edm | options))
    assert table.num_evaluations == 2 * 6 - 1
    assert table.initial_noise is None  # sigma may not rise above that of t = 1
    low, high = 0.1 ** (1 / 7), 10 ** (1 / 7)
    sigmas = np.linspace(high, low, 6) ** 7
    at = np.exp(math.log(0.1) + np.asarray(table.times, float) * math.log(100))
    np.testing.assert_allclose(at[2:10:2], 1.2 * sigmas[1:5], rtol=1e-6)  # raised by 1 + 1.2 / 6


VE = {"schedule": "variance_exploding", "schedule.sigma_min": 0.1, "schedule.sigma_max": 10.0}
DISCRETE = {"schedule": "discrete_linear", "schedule.num_steps": 20}
# Name, options, other settings, the times of 4 calls. A grid that ends above t = 0 has its last call at its end.
GRIDS = [
    ("uniform", {"start": 0.9, "end": 0.1}, {"schedule": "cosine"}, np.linspace(0.9, 0.1, 4)),
    ("uniform", {"start": 0.9}, {"schedule": "cosine"}, [0.9, 0.675, 0.45, 0.225]),
    (
        "log_snr",
        {"start": 0.9, "end": 0.2},
        {"schedule": "flow"},
        1 / (1 + np.exp(-np.linspace(math.log(9), math.log(0.25), 4))),
    ),
    (
        "karras",
        {"start": 0.9, "end": 0.2, "rho": 3.0},
        {"schedule": "flow"},
        1 / (1 + np.linspace(9 ** (1 / 3), 0.25 ** (1 / 3), 4) ** -3),
    ),
    ("karras", {"rho": 3.0}, VE, np.log(np.linspace(10 ** (1 / 3), 0.1 ** (1 / 3), 4) ** 3 / 0.1) / math.log(100)),
    ("discrete", {"spacing": "leading"}, DISCRETE, np.array([16, 11, 6, 1]) / 20),
    ("discrete", {"spacing": "trailing"}, DISCRETE, np.array([20, 15, 10, 5]) / 20),
]


@pytest.mark.parametrize(("name", "options", "others", "expected"), GRIDS)
def test_grid(name, options, others, expected):
    config = chosen("sampler.grid", name, options, sampler__num_steps=4)
    schedule = build.schedule(changed(others))
    np.testing.assert_allclose(table_of(config, schedule).times, expected, rtol=1e-7, atol=1e-9)


KINDS = {"label": Classes(3)}
NETWORK = networks.as_network(networks.MLP(hidden=8, depth=1, conditions=KINDS), "mlp")
CONDITION, NULL = {"label": jnp.array([0, 1, 2, 1])}, {"label": jnp.array([3, 3, 3, 3])}
X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)), jnp.float32)
TIME = jnp.array([0.1, 0.4, 0.6, 0.9])


def drawn_params(seed):
    shapes = jax.eval_shape(lambda key: NETWORK.init(key, (2,)), jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)


PARAMS = drawn_params(0)
MLP = {"model": "mlp", "model.hidden": 8, "model.depth": 1, "conditions.label.drop": 0.1, "data": "two_moons"}


def predicted(overrides, condition=CONDITION):
    """x_0 and eps of config.sampler's denoiser."""
    config = changed(MLP | overrides)
    denoiser = build_sampler.denoiser(
        config, NETWORK, schedules.Cosine(), processes.V(), PARAMS, condition, time_input=time_inputs.scaled
    )
    return [np.asarray(half, float) for half in denoiser(X, TIME)[:2]]


def plain(condition):
    """x_0 and eps of the network alone, from its v."""
    v = np.asarray(NETWORK(PARAMS, X, 999 * TIME, condition), float)
    alpha, sigma = np.cos(np.pi / 2 * TIME)[:, None], np.sin(np.pi / 2 * TIME)[:, None]
    return [np.asarray(alpha * X - sigma * v, float), np.asarray(sigma * X + alpha * v, float)]


GIVEN, WITHOUT = plain(CONDITION), plain(NULL)
INSIDE = np.array([False, True, True, False])[:, None]
ALPHA, SIGMA = (f(np.pi / 2 * np.asarray(TIME, float))[:, None] for f in (np.cos, np.sin))


def extrapolated(scale):
    return [without + scale * (given - without) for given, without in zip(GIVEN, WITHOUT, strict=True)]


def rescaled(x_0, factor):
    """arXiv:2305.08891, eq. 15 and 16."""
    ratio = GIVEN[0].std(1, keepdims=True) / x_0.std(1, keepdims=True)
    return (factor * ratio + 1 - factor) * x_0


def completed(x_0):
    """x_0 with the eps that makes x_t."""
    return [x_0, (np.asarray(X, float) - ALPHA * x_0) / SIGMA]


INTERVAL = {"interval": (0.3, 0.7)}
THREE = [3 * given - 2 * without for given, without in zip(GIVEN, WITHOUT, strict=True)]
# Name, options, x_0 and eps.
GUIDANCE = [
    ("none", {}, GIVEN),
    ("classifier_free", {"scale": 3.0}, THREE),
    ("classifier_free", {"scale": 3.0} | INTERVAL, [np.where(INSIDE, THREE[i], GIVEN[i]) for i in (0, 1)]),
    ("composed", {"scales": (("label", 3.0),)}, THREE),
    (
        "composed",
        {"scales": (("label", 3.0),)} | INTERVAL,
        [np.where(INSIDE, THREE[i], GIVEN[i]) for i in (0, 1)],
    ),
    ("cfg_plus_plus", {"scale": 0.6}, [extrapolated(0.6)[0], WITHOUT[1]]),
    ("rescaled", {"scale": 3.0, "factor": 0.4}, completed(rescaled(THREE[0], 0.4))),
    (
        "rescaled",
        {"scale": 3.0, "factor": 0.4} | INTERVAL,
        completed(np.where(INSIDE, rescaled(THREE[0], 0.4), GIVEN[0])),
    ),
]


@pytest.mark.parametrize(("name", "options", "expected"), GUIDANCE)
def test_guidance(name, options, expected):
    overrides = {"sampler.guidance": name} | {f"sampler.guidance.{key}": value for key, value in options.items()}
    for ours, theirs in zip(predicted(overrides), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    # Without a label there is nothing to guide by.
    for ours, theirs in zip(predicted(overrides, None), WITHOUT, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


# Guidance that the network is told.
TOLD = networks.as_network(
    networks.MLP(hidden=8, depth=1, conditions=KINDS | {SPAN: Number(), **GUIDANCE_KINDS}), "mlp"
)
EMBEDDED = [("embedded", {"scale": 3.0} | INTERVAL)]
TRAINED_GUIDED = {"loss": "improved_mean_flow", "loss.max_scale": 8.0, "schedule": "flow", "parameterization": "flow"}


def told(denoiser_of, condition=CONDITION):
    """(a denoiser by config.sampler, the network's velocity of X under a condition and what it is told)."""
    shapes = jax.eval_shape(lambda key: TOLD.init(key, (2,)), jax.random.key(0))
    rng = np.random.default_rng(5)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
    return denoiser_of(params), lambda **more: np.asarray(TOLD(params, X, 999 * TIME, condition | more))


@pytest.mark.parametrize(("name", "options"), EMBEDDED)
def test_embedded_guidance(name, options):
    """The network is told 1 - 1 / scale, and the interval as low and 1 - high; at one time, whether it is guided."""
    config = changed(MLP | {"sampler.guidance": name} | {f"sampler.guidance.{k}": v for k, v in options.items()})

    def denoiser_of(params):
        parts = (config, TOLD, schedules.Flow(), processes.FlowVelocity(), params)
        return build_sampler.denoiser(*parts, CONDITION, time_input=time_inputs.scaled)

    denoiser, velocity = told(denoiser_of)
    numbers = {
        key: jnp.full(4, value, jnp.float32) for key, value in zip(GUIDANCE_KINDS, (2 / 3, 0.3, 0.3), strict=True)
    }
    once = denoiser(X, TIME)
    expected = np.where(INSIDE, velocity(guidance_scale=numbers["guidance_scale"]), velocity())
    np.testing.assert_allclose(once.eps - once.x_0, expected, rtol=1e-3, atol=1e-3)
    twice = denoiser(X, TIME, TIME / 2)
    np.testing.assert_allclose(twice.eps - twice.x_0, velocity(span=TIME / 2, **numbers), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", ["flow_map", "ddim"])
def test_the_guidance_scale_of_a_model_that_is_told_it(sampler):
    """One step of either sampler, by the scale of a call."""
    config = changed(MLP | TRAINED_GUIDED | {"sampler": sampler, "sampler.num_steps": 1})
    model = Model.build(config, DataDescription("two_moons", (2,), num_classes=3, kinds=dict(TOLD.conditions)))

    def denoiser_of(params):
        trained = Trained(model, 1, lambda index: params, sharding.make_mesh())
        guided = trained.with_sampler(guidance_scale=2.0)
        assert guided.config.sampler.guidance.name == "embedded"
        return guided.denoiser(condition=CONDITION)

    denoiser, velocity = told(denoiser_of)
    prediction, strength = denoiser(X, TIME), jnp.full(4, 0.5)
    np.testing.assert_allclose(prediction.eps - prediction.x_0, velocity(guidance_scale=strength), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler.guidance": "embedded"}, "'embedded' needs a network that was trained to be guided"),
        (TRAINED_GUIDED | {"sampler.guidance": "embedded", "sampler.guidance.scale": 0.5}, "a scale from 1 on, got"),
        (
            TRAINED_GUIDED | {"sampler.guidance": "classifier_free", "sampler": "flow_map"},
            "set sampler.guidance=none or embedded",
        ),
    ],
)
def test_guidance_that_the_network_cannot_follow_is_refused(settings, message):
    kinds = dict(TOLD.conditions) if "loss" in settings else KINDS
    with pytest.raises(ValueError, match=message):
        Model.build(
            changed(MLP | {"sampler.guidance.scale": 2.0} | settings), DataDescription("two_moons", (2,), kinds=kinds)
        )


TWO = {"label": Classes(3), "place": Vector(2)}
TWO_NETWORK = networks.as_network(networks.MLP(hidden=8, depth=1, conditions=TWO), "mlp")
BOTH = CONDITION | {"place": jnp.asarray([[1.0, -1.0]] * 4)}


def of_two(overrides, condition=BOTH, **told):
    """x_0 of the denoiser of a network that is told a label and a vector, and x_0 of the network alone."""
    shapes = jax.eval_shape(lambda key: TWO_NETWORK.init(key, (2,)), jax.random.key(0))
    rng = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
    config = changed(MLP | {"conditions.place": "vector"} | overrides)
    parts = (TWO_NETWORK, schedules.Cosine(), processes.V(), params)
    denoiser = build_sampler.denoiser(config, *parts, condition, time_input=time_inputs.scaled, **told)

    def alone(condition):
        v = np.asarray(TWO_NETWORK(params, X, 999 * TIME, condition), float)
        return np.cos(np.pi / 2 * TIME)[:, None] * X - np.sin(np.pi / 2 * TIME)[:, None] * v

    return np.asarray(denoiser(X, TIME).x_0, float), alone


def test_guidance_over_one_condition_and_composed_over_two():
    """Over one: the other stays in both predictions. Composed: each by itself, arXiv:2206.01714, eq. 11."""
    scaled = {"sampler.guidance": "classifier_free", "sampler.guidance.scale": 3.0}
    for over, base in ((("place",), CONDITION), (("label",), {"place": BOTH["place"]}), ((), {})):
        got, alone = of_two(scaled | {"sampler.guidance.over": over})
        np.testing.assert_allclose(got, 3 * alone(BOTH) - 2 * alone(base), rtol=1e-3, atol=1e-3)
    scales = {"sampler.guidance": "composed", "sampler.guidance.scales": (("label", 2.0), ("place", -1.5))}
    got, alone = of_two(scales)
    expected = 2 * alone(CONDITION) - 1.5 * alone({"place": BOTH["place"]}) + 0.5 * alone({})
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_negative_and_further_conditions():
    """Guidance leads away from a negative condition; further ones are composed with the first."""
    scaled = {"sampler.guidance": "classifier_free", "sampler.guidance.scale": 3.0}
    negative, other = {"place": jnp.full((4, 2), 0.5)}, BOTH | {"label": jnp.array([2, 2, 0, 0])}
    got, alone = of_two(scaled, negative=negative, others=((other, 0.7),))
    base = alone({"place": negative["place"]})
    expected = base + 3 * (alone(BOTH) - base) + 0.7 * (alone(other) - base)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"negative prompts and composed ones need sampler.guidance"):
        of_two({}, negative=negative)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"sampler.guidance": "classifier_free", "sampler.guidance.over": ("lable",)},
            "no condition 'lable'",
        ),
        ({"sampler.guidance": "composed", "sampler.guidance.scales": (("text", 1.0),)}, "no condition 'text'"),
        ({"sampler.guidance": "composed", "sampler.guidance.scales": (2.0,)}, "scales must be pairs of a condition"),
        ({"sampler.guidance": "composed", "sampler.guidance.scales": ()}, "scales must be pairs of a condition"),
    ],
)
def test_unfit_guidance_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        predicted({"sampler.guidance.scale": 2.0} | settings if "over" in str(settings) else settings)


def test_guidance_of_a_trained_model():
    """guidance_scale of a call is the scale, and 1 is none."""
    model = Model.build(
        changed(MLP | {"sampler.num_steps": 2}), DataDescription("two_moons", (2,), num_classes=3, kinds=KINDS)
    )
    trained = Trained(model, 1, lambda index: PARAMS, sharding.make_mesh())
    for scale, expected in ((3.0, THREE), (1.0, GIVEN)):
        prediction = trained.with_sampler(guidance_scale=scale).denoiser(condition=CONDITION)(X, TIME)
        np.testing.assert_allclose(prediction.x_0, expected[0], rtol=1e-3, atol=1e-3)


def test_epsilon_scale():
    """arXiv:2308.15321: eps divided by the scale, and x_0 that still makes x_t."""
    x_0, eps = predicted({"sampler.epsilon_scale": 1.25})
    np.testing.assert_allclose(eps, GIVEN[1] / 1.25, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ALPHA * x_0 + SIGMA * eps, X, rtol=1e-4, atol=1e-4)


THRESHOLDING = [
    ("none", {}, GIVEN[0]),
    ("thresholded", {"limit": 0.5}, np.clip(GIVEN[0], -0.5, 0.5)),
    ("thresholded", {"limit": 0.5, "percentile": 40.0}, None),
]


@pytest.mark.parametrize(("name", "options", "expected"), THRESHOLDING)
def test_thresholding(name, options, expected):
    if expected is None:  # Imagen, arXiv:2205.11487, section 2.3, for data within [-0.5, 0.5]
        bound = np.maximum(np.percentile(np.abs(GIVEN[0]), 40.0, axis=1, keepdims=True), 0.5)
        assert (bound > 0.5).any()
        expected = np.clip(GIVEN[0], -bound, bound) * 0.5 / bound
    overrides = {f"sampler.thresholding.{key}": value for key, value in options.items()}
    x_0, eps = predicted({"sampler.thresholding": name} | overrides)
    np.testing.assert_allclose(x_0, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(eps, completed(expected)[1], rtol=1e-3, atol=1e-3)


def test_thresholding_comes_after_guidance_and_epsilon_scaling():
    overrides = {"sampler.guidance": "classifier_free", "sampler.guidance.scale": 3.0, "sampler.epsilon_scale": 1.25}
    x_0, _ = predicted(overrides | {"sampler.thresholding": "thresholded", "sampler.thresholding.limit": 0.5})
    scaled = THREE[0] + SIGMA / ALPHA * (1 - 1 / 1.25) * THREE[1]
    np.testing.assert_allclose(x_0, np.clip(scaled, -0.5, 0.5), rtol=1e-3, atol=1e-3)


def test_average():
    """The parameters are those of the average that is named; the first in alphabetical order unless one is."""
    averages = {"ema.slow": "constant", "ema.fast": "constant", "ema.constant": "None", "sampler.num_steps": 2}
    for average, index in ((None, 0), ("fast", 0), ("slow", 1)):
        config = changed(MLP | averages | ({} if average is None else {"sampler.average": average}))
        assert list(config.ema) == ["fast", "slow"]
        model = Model.build(config, DataDescription("two_moons", (2,), num_classes=3, kinds=KINDS))
        trained = Trained(model, 1, lambda index: {"index": index}, sharding.make_mesh())
        assert trained.params() == {"index": index} and trained.params("slow") == {"index": 1}


@pytest.mark.parametrize(
    ("path", "cases"),
    [
        ("sampler", SAMPLERS),
        ("sampler.grid", GRIDS),
        ("sampler.guidance", GUIDANCE + EMBEDDED),
        ("sampler.thresholding", THRESHOLDING),
    ],
)
def test_every_name_and_option_is_here(path, cases):
    assert_complete(path, [case[:2] for case in cases])
