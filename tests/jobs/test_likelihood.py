"""--mode likelihood: every way on digits and points, examples out of distribution, and what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from scipy import stats

from diffax import build_data, data, resolve, runs, sharding
from diffax import config as settings
from diffax.evaluation import detection
from diffax.reporting import metrics
from diffax.runs import likelihood, likelihood_examples
from tests.jobs.test_launch import MATRIX, UNEVALUATED, config

FEW = (
    "--mode=likelihood",
    "--config.likelihood.num_examples=20",
    "--config.likelihood.tolerance=0.01",
    "--batch_size=8",
)
PLAIN = "--config.sampler.guidance=none"
EVALUATED = (
    *UNEVALUATED,
    "--config.evaluators.bits_per_dim.num_examples=4",
    "--config.likelihood.num_draws=2",
    "--config.train.best=bits_per_dim",
)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def digits(command, trained_once, tmp_path):
    """A class-conditional run, in which bits per dimension were measured during training."""
    if not trained_once.exists():
        training = ("--config", config("digits_conditional"), "--workdir", trained_once, *MATRIX, PLAIN, *EVALUATED)
        code, _, err = command(*training)
        assert code == 0, err
    shutil.copytree(trained_once, tmp_path / "run")
    return tmp_path / "run"


def results(run):
    [directory] = (run / "likelihoods").iterdir()
    return json.loads((directory / "results.json").read_text()), dict(np.load(directory / "examples.npz"))


def test_digits_by_every_way_by_class_and_against_others(command, digits):
    options = "--config.likelihood.num_draws=50", "--against=noise,shifted", f"--ways={','.join(likelihood.WAYS)}"
    code, out, err = command("--workdir", digits, *FEW, *options)
    assert code == 0, err
    found, examples = results(digits)
    assert found["unit"] == "bits per dimension" and found["conditions"] == ["label"]
    assert "truncated_normal dequantization (tau 3.0), bins of width 0.125 = 3.0000 bits" in out
    assert "1 rademacher probe(s); tolerance 0.01" in out and "1000 steps of small variance, 50 of its steps" in out
    held_out = data.digits.load("test")
    np.testing.assert_array_equal(examples["label"], held_out.labels[examples["row"]])
    assert "Continuous-time bound: 50 times drawn for each example" in out
    for way in likelihood.WAYS:
        values = examples[way]
        assert values.shape == (20,) and np.isfinite(values).all()
        assert found["all"][way] == pytest.approx(values.mean())
        assert found["all"][f"{way}_standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(20))
        of_class = values[examples["label"] == examples["label"][0]]
        assert found["by_class"][str(examples["label"][0])][way] == pytest.approx(of_class.mean())
        for other in ("noise", "shifted"):
            expected = stats.mannwhitneyu(examples[f"{other}_{way}"], values).statistic / 400
            assert found["against"][other][f"{way}_auroc"] == pytest.approx(expected)
    for bound, parts in (
        ("bound", ("prior", "kl", "decoder")),
        ("continuous_bound", ("continuous_prior", "diffusion", "reconstruction")),
    ):
        np.testing.assert_allclose(sum(examples[part] for part in parts), examples[bound], rtol=1e-5)
    assert examples["num_evaluations"].mean() == pytest.approx(found["all"]["num_evaluations"]["mean"])
    assert found["all"]["num_evaluations"]["least"] > 20
    # Other labels are other likelihoods, and the noise of an example is that of its row.
    trained, rows = runs.open(digits), examples["row"][:4]
    before = trained.likelihoods(held_out, rows, ways=("bound",))["bound"]
    held_out.labels[rows[0]] = (held_out.labels[rows[0]] + 1) % 10
    after = trained.likelihoods(held_out, rows[::-1], ways=("bound",))["bound"][::-1]
    np.testing.assert_allclose(after[1:], before[1:], rtol=1e-5)
    assert after[0] != pytest.approx(before[0], rel=1e-3)


def test_bits_per_dim_are_an_evaluator(digits):
    [line] = [line for line in metrics.read(digits) if "bits_per_dim" in line]
    held_out, trained = data.digits.load("test"), runs.open(digits)
    values = trained.likelihoods(held_out, 4, ways=("bound",))["bound"]
    assert line["bits_per_dim"] == pytest.approx(values.mean(), rel=1e-5)
    assert line["bits_per_dim_standard_error"] == pytest.approx(values.std(ddof=1) / 2, rel=1e-4)


def test_points_have_nats_per_dimension_those_of_a_gaussian_where_the_network_outputs_nothing():
    """EDM's preconditioning of sigma_data is the exact denoiser of N(0, sigma_data^2); tiny's network of scale 0."""
    overrides = {
        "data": "swiss_roll",
        "model": "tests.tiny:Network",
        "model.scale": "0",
        "schedule": "variance_exploding",
        "parameterization": "edm",
        "parameterization.sigma_data": "1.3",
        "likelihood.divergence": "exact",
        "likelihood.num_draws": "200",
    }
    made = resolve.resolve(resolve.override(settings.default(), overrides.items()))
    points = build_data.dataset(made, "test")
    model = runs.Model.build(made, runs.DataDescription.of(made, points))
    params = model.init_params(jax.random.key(0))
    trained = runs.Trained(model, 0, lambda index: params, sharding.make_mesh())
    values = trained.likelihoods(points, 30, ways=likelihood.WAYS)
    rows = likelihood_examples.random_rows(len(points), 30)
    exact = -stats.norm(0, np.hypot(1.3, 0.01)).logpdf(points.examples[rows]).mean(1)
    # N(0, 50^2) is the prior, and N(0, 50^2 + 1.3^2) what the data have become.
    np.testing.assert_allclose(values["ode"], exact, atol=2e-3)
    assert not values["ode_probe_error"].any()
    # Above by the first step and the prior of the chain; by the decoder and the prior alone in continuous time.
    for way, slack in (("bound", 0.05), ("continuous_bound", 0.01)):
        error = np.sqrt(np.square(values[f"{way}_draw_error"]).sum()) / 30
        assert 0 < error < 0.2 and abs(values[way].mean() - exact.mean()) < 4 * error + slack
    diverged = jax.tree.map(lambda leaf: np.nan * leaf, params)
    with pytest.raises(FloatingPointError, match=r"30 of 30 likelihoods \(ode\) are not finite, the first is that of"):
        dataclasses.replace(trained, load=lambda index: diverged).likelihoods(points, 30)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--config.sampler.guidance=classifier_free", "--config.sampler.guidance.scale=2"),
            "there is no likelihood of samples drawn with guidance (classifier_free)",
        ),
        (("--config.sampler.thresholding=thresholded",), "samples drawn with thresholding (thresholded)"),
        (("--config.sampler.epsilon_scale=1.01",), "samples drawn with epsilon scaling (1.01)"),
        (("--config.likelihood.variance=learned",), "needs a model with a learned variance: use small or large"),
        (("--config.likelihood.variance=tiny",), "must be small, large or learned, got 'tiny'"),
        (("--config.likelihood.split=test",), "likelihood.split must be train or held_out, got 'test'"),
        (("--config.likelihood.num_examples=1",), "likelihood.num_examples must be >= 2, got 1"),
        (("--config.likelihood.num_draws=1",), "likelihood.num_draws must be >= 2, or 0 for all steps, got 1"),
        (("--config.likelihood.num_steps=-1",), "likelihood.num_steps must be >= 1, got -1"),
        (("--config.likelihood.tolerance=0",), "likelihood.tolerance must be > 0, got 0"),
        (("--config.likelihood.dequantization=none",), "likelihood.dequantization.name must be one of uniform, "),
        (("--config.likelihood.divergence=hutch",), "must be one of rademacher, gaussian, exact"),
        (("--ways=continuous_bound", "--config.likelihood.num_draws=0"), "the bound in continuous time has none"),
        (("--ways=elbo",), "--ways must be of ode, bound, continuous_bound, got elbo"),
        (("--ways=",), "--ways must be of ode, bound, continuous_bound, got none"),
        (("--against=letters",), "--against must be of noise, shifted, got letters"),
        (("--seed=-1",), "--seed must be >= 0, got -1"),
        (("--batch_size=0",), "--batch_size must be >= 1, got 0"),
        (("--ema=slow",), "there is no average 'slow'"),
    ],
)
def test_bad_requests_are_one_clear_line(command, digits, arguments, said):
    code, _, err = command("--workdir", digits, "--mode=likelihood", *arguments)
    lines = [line for line in err.splitlines() if not line.startswith(("likelihood: ", "warning: "))]
    assert code == 2 and len(lines) == 1 and said in lines[0], err
    assert not (digits / "likelihoods").exists()


def test_out_of_distribution_points_are_in_the_range_of_the_data():
    points = data.toy.load("swiss_roll", "test")
    made = likelihood_examples.change("noise", points, 0)(points.examples)
    assert made.shape == points.examples.shape and made.dtype == np.float32
    np.testing.assert_allclose([made.min(0), made.max(0)], [points.examples.min(0), points.examples.max(0)], rtol=0.1)
    with pytest.raises(ValueError, match="--against shifted is for images, and swiss_roll/test has points"):
        likelihood_examples.change("shifted", points, 0)


def test_auroc_with_ties():
    rng = np.random.default_rng(0)
    scores, others = rng.integers(0, 9, 50).astype(float), rng.integers(3, 12, 70).astype(float)
    expected = stats.mannwhitneyu(others, scores).statistic / (50 * 70)
    assert detection.auroc(scores, others) == pytest.approx(expected)
    assert detection.auroc(scores, scores + 100) == 1 and detection.auroc(scores, scores) == 0.5
    with pytest.raises(ValueError, match="finite scores"):
        detection.auroc(scores, np.array([np.nan]))
