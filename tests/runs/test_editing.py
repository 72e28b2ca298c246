"""Inversion, editing and interpolation by a trained model, against the closed form for classes that are Gaussian."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from diffax import resolve, runs, samplers
from diffax.conditions import Classes
from diffax.config import choice, default
from diffax.runs import editing, opening, trained
from tests import gaussians
from tests.gaussians import MEANS, SHAPE
from tests.jobs.test_launch import UNEVALUATED, config

STEPS = 100
EXACT = (
    *("--config", config("digits_conditional"), "--config.data=tests.gaussians:images"),
    *("--config.model=tests.gaussians:Network", "--config.model.time_input=log_snr", "--config.parameterization=v"),
    *("--config.loss.weighting=velocity", "--config.optimizer.name=adam", "--config.optimizer.warmup_steps=0"),
    *("--config.train.batch_size=4", "--config.train.num_steps=1", *UNEVALUATED),
    f"--config.sampler.num_steps={STEPS}",
)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("exact") / "run"


@pytest.fixture
def run(command, once, tmp_path):
    """A run whose network is exact, and beside it three images of the class 0, ant, in a folder of that name."""
    if not once.exists():
        code, _, err = command(*EXACT, "--workdir", once)
        assert code == 0, err
    shutil.copytree(once, tmp_path / "run")
    for i, pixels in enumerate(gaussians.images("train").examples[:9:3]):
        path = tmp_path / "folder" / "ant" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(path)
    return tmp_path / "run"


def pictures():
    """The images of the folder."""
    return np.asarray(gaussians.images("train").examples[:9:3], np.float64) / 127.5 - 1


def ends(schedule, strength=1.0):
    times = samplers.inversion_times(schedule, STEPS, strength=strength)[[0, -1]]
    return [(float(schedule.alpha(t)), float(schedule.sigma(t))) for t in times]


def results(run, folder="edits"):
    """{name of the directory: (its arrays, its record)}."""
    found = {}
    for path in (run / folder).iterdir():
        with np.load(path / "results.npz") as arrays:
            found[path.name] = dict(arrays), json.loads((path / "record.json").read_text())
        assert Image.open(path / "picture.png").size[0] > 50
    return found


def of_flow():
    """The exact flow model of the same images, without a run."""
    settings = default()
    settings.model = choice("tests.gaussians:Network", flow=True, time_input=choice("log_snr"))
    settings.conditions = {"label": {"drop": 0.1}}
    settings.schedule, settings.parameterization = choice("flow"), choice("flow")
    settings.sampler = choice("unipc", order=2, num_steps=STEPS)
    described = runs.DataDescription("gaussians", SHAPE, 3, 256, kinds={"label": Classes(3)})
    model = runs.Model.build(resolve.resolve(settings), described)
    return trained.Trained(model, 0, lambda index: model.init_params(jax.random.key(0)), opening.mesh_for(model.config))


def test_an_edit_is_the_closed_form(command, run):
    """Inverted at guidance 1, generated at 1.5: Gaussians of one spread have 1.5 times the mean then."""
    edit = ("--workdir", run, "--mode=edit", "--input", run.parent / "folder", "--to", "bee")
    for more in (("--strength=0.6",), ("--from=0",), ("--guidance_scale=1",)):
        code, out, err = command(*edit, *more)
        assert code == 0 and "edited from " in out and "reconstruction: mean absolute error " in out, err
    schedule, found = runs.open(run).schedule, results(run)
    assert len(found) == 3
    for name, (arrays, record) in found.items():
        assert record["strength"] == (0.6 if "strength0.6" in name else 1.0) and record["to"] == "bee", name
        scale = record["sampler"]["guidance"].get("scale", 1.0)
        assert record["sampler"]["name"] == "unipc" and scale == (1.5 if "guidance1.5" in name else 1.0)
        latents, edited = gaussians.moved(pictures(), MEANS[0], scale * MEANS[1], ends(schedule, record["strength"]))
        np.testing.assert_allclose(arrays["latents"], latents, atol=4e-3)
        assert np.abs(arrays["samples"] - 127.5 * (np.clip(edited, -1, 1) + 1)).max() < 1.5
        assert np.abs(arrays["reconstruction"].astype(int) - arrays["original"]).max() <= 1
        assert record["reconstruction_error"] < 1e-3 and arrays["labels"].tolist() == [1, 1, 1]


def test_a_flow_model_is_edited_alike():
    """The exact velocity of the flow schedule: the closed form under its alpha and sigma, for any batch size."""
    model, x = of_flow(), pictures().astype(np.float32)
    for strength in (1.0, 0.5):
        args = (model, x, {"label": np.zeros(3, np.int32)}, {"label": np.array([2], np.int32)})
        edit = editing.edit(*args, strength=strength, batch_size=2)
        latents, edited = gaussians.moved(pictures(), MEANS[0], MEANS[2], ends(model.schedule, strength))
        np.testing.assert_allclose(edit.latents, latents, atol=5e-3)
        np.testing.assert_allclose(edit.edited, edited, atol=1e-3)
        assert edit.error.shape == (3,) and edit.error.max() < 1e-3 and len(edit.states) == 8
        np.testing.assert_allclose(
            edit.states[0], edit.latents / np.hypot(*ends(model.schedule, strength)[1]), rtol=1e-5
        )
    barely = editing.edit(*args, strength=1e-3)
    np.testing.assert_allclose(barely.edited, x, atol=2e-3)


def test_interpolation_between_seeds_begins_and_ends_with_their_samples(command, run):
    code, out, err = command("--workdir", run, "--mode=interpolate", "--seeds", 1, 2, "--num=5", "--label=cow")
    assert code == 0 and "5 samples from seed 1 to seed 2" in out, err
    [(arrays, _)] = results(run, "interpolations").values()
    model = runs.open(run)
    for row, seed in ((0, 1), (-1, 2)):
        drawn = model.draw(1, seed=seed, labels=np.full(1, 2))
        assert np.abs(arrays["samples"][row] - 127.5 * (np.clip(drawn[0], -1, 1) + 1)).max() < 1.5
    # No two neighbours are alike, and each is a draw of the class: guided, of 1.5 times its mean.
    far = (arrays["samples"] / 127.5 - 1 - 1.5 * MEANS[2]) / gaussians.STDS
    assert np.abs(np.diff(arrays["samples"].astype(int), axis=0)).max((1, 2, 3)).min() > 3 and np.abs(far).max() < 4


def test_interpolation_between_images_ends_in_them(command, run):
    one, other = run.parent / "folder" / "ant" / "0.png", run.parent / "folder" / "ant" / "1.png"
    code, out, err = command("--workdir", run, "--mode=interpolate", "--between", one, other, "--num=3", "--label=0")
    assert code == 0 and "3 images from 0 to 1; at the ends reconstructed to " in out, err
    [(arrays, _)] = results(run, "interpolations").values()
    x = pictures()[:2]
    assert np.abs(arrays["samples"][[0, 2]] - 127.5 * (x + 1)).max() < 1.5
    # Half way: the mean direction of the latents and their mean norm, brought back by the closed form.
    at = ends(runs.open(run).schedule)
    latents, _ = gaussians.moved(x, MEANS[0], MEANS[0], at)
    norms = np.linalg.norm(latents.reshape(2, -1), axis=1)
    middle = (latents / norms[:, None, None, None]).sum(0)
    middle *= norms.mean() / np.linalg.norm(middle)
    expected, _ = gaussians.moved(middle, MEANS[0], MEANS[0], at[::-1])
    assert np.abs(arrays["samples"][1] - 127.5 * (np.clip(expected, -1, 1) + 1)).max() < 1.5


def test_what_the_results_are_for(command, run):
    """The archive is a sample set, and what was edited can be edited back."""
    folder = run.parent / "folder"
    assert command("--workdir", run, "--mode=edit", "--input", folder, "--to=bee", "--guidance_scale=1")[0] == 0
    [path] = (run / "edits").iterdir()
    drawn = runs.sample_set(path / "results.npz").examples
    assert drawn.examples.shape == (3, *SHAPE) and drawn.labels.tolist() == [1, 1, 1]
    back = ("--from=bee", "--to=ant", "--guidance_scale=1")
    code, _, err = command("--workdir", run, "--mode=edit", "--input", path / "results.npz", *back)
    assert code == 0, err
    arrays, _ = next(found for name, found in results(run).items() if "bee-to-ant" in name)
    assert np.abs(arrays["samples"].astype(int) - gaussians.images("train").examples[:9:3]).max() <= 2


def spoiled(folder):
    """Files that are refused, by what is wrong with them."""
    rng = np.random.default_rng(0)
    whole = (folder / "folder" / "ant" / "0.png").read_bytes()
    (folder / "partial.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(folder / "colour.png")
    Image.fromarray(rng.integers(0, 256, (5, 4), np.uint8)).save(folder / "large.png")
    np.savez(folder / "large.npz", images=rng.integers(0, 256, (2, 5, 4, 1), np.uint8))
    (folder / "partial.npz").write_bytes((folder / "large.npz").read_bytes()[:100])
    (folder / "empty").mkdir()
    (folder / "animals" / "fox").mkdir(parents=True)
    shutil.copy(folder / "folder" / "ant" / "0.png", folder / "animals" / "fox")


REFUSED = [
    (("--input", "large.png"), "large.png: has 4 x 5 pixels, and the images of this model 4 x 4: --resize crops"),
    (("--input", "large.npz"), "large.npz: has examples of shape (5, 4, 1), and this model (4, 4, 1)"),
    (("--input", "colour.png"), "colour.png: has 3 channels, and the images of this model 1"),
    (("--input", "partial.png"), "partial.png: unreadable image"),
    (("--input", "partial.npz"), "partial.npz: not a .npy or .npz file of plain arrays"),
    (("--input", "empty"), "empty: no images, nor folders of them"),
    (("--input", "nowhere.png"), "nowhere.png: there is nothing"),
    (("--input", "animals"), "a class of --input must be in 0..2 or one of ant, bee, cow, got fox"),
    (("--from", "fox"), "--from must be in 0..2 or one of ant, bee, cow, got fox"),
    (("--to", "3"), "--to must be in 0..2 or one of ant, bee, cow, got 3"),
    (("--strength", "0"), "--strength must be in (0, 1], got 0"),
    (("--strength", "1.5"), "--strength must be in (0, 1], got 1.5"),
    (("--strength", "nan"), "--strength must be in (0, 1], got nan"),
    (("--sampler", "ddpm"), "inversion needs a deterministic sampler, and DDPM"),
    (("--config.sampler.name", "euler_ancestral"), "inversion needs a deterministic sampler"),
    (("--batch_size", "0"), "--batch_size must be >= 1, got 0"),
]


def test_refused_with_the_reason_and_nothing_written(command, run):
    spoiled(run.parent)
    usual = ("--workdir", run, "--mode=edit", "--input", "folder", "--to=1")
    for flags, said in REFUSED:
        code, out, err = command(*usual, *flags)
        assert code == 2 and out == "" and said in err and err.count("\n") == 1, (flags, err)
    for flags, said in (
        ((), "give two images by --between A B, or two seeds by --seeds A B"),
        (("--seeds", 1, 2, "--between", "a", "b"), "give two images by --between A B, or two seeds"),
        (("--seeds", 1, 2, "--num=1"), "--num must be >= 2, got 1"),
        (("--seeds", -1, 2), "--seeds must be >= 0, got -1"),
        (("--seeds", 1, 2, "--sampler=ddpm"), "interpolation needs a deterministic sampler, and DDPM"),
        (("--between", "folder", "folder"), "--between takes two images, and folder has 3"),
        (("--between", "folder", "folder", "--guidance_scale=2"), "--guidance_scale is for --seeds"),
        (("--seeds", 1, 2, "--label=fox"), "--label must be in 0..2 or one of ant, bee, cow, got fox"),
    ):
        code, out, err = command("--workdir", run, "--mode=interpolate", *flags)
        assert code == 2 and out == "" and said in err and err.count("\n") == 1, (flags, err)
    assert not (run / "edits").exists() and not (run / "interpolations").exists()
    recorded = json.loads((run / "config.json").read_text())
    recorded["conditions"]["label"]["drop"] = 0.0
    (run / "config.json").write_text(json.dumps(recorded))
    code, _, err = command(*usual, "--input", "folder/ant/0.png", "--guidance_scale=1")
    assert code == 2 and "give --from: this model never learned to do without 'label'" in err
    # Resized when asked.
    code, _, err = command(*usual, "--input", "large.png", "--from=0", "--resize", "--guidance_scale=1")
    assert code == 0, err
