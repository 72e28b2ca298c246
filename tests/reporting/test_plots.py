import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from diffax import samplers, schedules
from diffax.reporting import plots


def coloured_pixels(picture):
    """The mask of coloured pixels of an RGB picture."""
    return picture.max(axis=-1).astype(int) - picture.min(axis=-1) > 20


def ink(path):
    """The fraction of coloured pixels in the left and right half."""
    coloured = coloured_pixels(np.asarray(Image.open(path).convert("RGB")))
    middle = coloured.shape[1] // 2
    return coloured[:, :middle].mean(), coloured[:, middle:].mean()


def test_points_of_both_sides_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(20, 2)), rng.normal(size=(2000, 2))
    plots.scatter(tmp_path / "plots" / "a.png", few, many)
    left, right = ink(tmp_path / "plots" / "a.png")
    assert 0 < left < right / 5


def test_strays_and_nans_do_not_stretch_the_axes(tmp_path):
    real = np.random.default_rng(0).normal(size=(500, 2))
    strays = np.concatenate([real, [[1e9, 0.0], [np.nan, 1.0]]])
    plots.scatter(tmp_path / "a.png", strays, real)
    left, right = ink(tmp_path / "a.png")
    assert left == pytest.approx(right, rel=0.05)


def test_a_picture_is_what_the_png_shows(tmp_path):
    points = np.random.default_rng(0).normal(size=(2, 50, 2))
    picture = plots.scatter_picture(*points, titles=("a", "b"))
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    plots.scatter(tmp_path / "a.png", *points, titles=("a", "b"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")), picture)


def test_generated_points_alone_set_their_axes():
    points = np.random.default_rng(0).uniform(-1, 1, (1000, 2))
    beside, alone = plots.scatter_picture(points, points), plots.scatter_picture(points)
    assert alone.shape[1] == beside.shape[1] / 2
    # Neither a few strays nor NaNs stretch the axes: the points cover most of the picture.
    strays = np.concatenate([points, [[1e9, 0.0], [-1e9, 1e9], [np.nan, 1.0], [0.0, np.inf]]])
    for picture in (alone, plots.scatter_picture(strays)):
        rows, columns = np.nonzero(coloured_pixels(picture))
        assert np.ptp(rows) > 0.5 * picture.shape[0] and np.ptp(columns) > 0.5 * picture.shape[1]
    # One stray among few points.
    rows, _ = np.nonzero(coloured_pixels(plots.scatter_picture(np.append(points[:60], [[1e9, 1e9]], axis=0))))
    assert np.ptp(rows) > 0.5 * alone.shape[0]


@pytest.mark.parametrize("points", [np.full((3, 2), np.nan), np.zeros((0, 2)), np.ones((1, 2))])
def test_a_diverged_sampler_still_has_a_picture(points):
    assert plots.scatter_picture(points).shape == plots.scatter_picture(np.eye(2)).shape


@pytest.mark.parametrize(("dims", "rows"), [((1,), 1), ((2,), 1), ((3,), 2), ((5,), 3), ((40,), 4), ((4, 2, 3), 4)])
def test_points_of_any_dimension_have_a_picture(dims, rows):
    points = np.random.default_rng(0).normal(size=(2, 200, *dims))
    picture = plots.scatter_picture(*points)
    assert picture.shape == (504 * rows, 960, 3)
    # Something is drawn in every row of both columns.
    for row in np.split(coloured_pixels(picture), rows):
        assert all(half.sum() > 100 for half in np.split(row, 2, axis=1))
    assert plots.scatter_picture(np.full((3, *dims), np.nan)).shape == (504 * rows, 480, 3)


def test_pairs_are_of_neighbouring_numbers():
    """The first with the second, which are all 0, and an odd third with the second."""
    points = np.zeros((100, 3))
    points[:, 2] = np.linspace(0, 1, 100)
    upper, lower = np.split(coloured_pixels(plots.scatter_picture(points)), 2)
    assert np.ptp(np.nonzero(upper)[0]) < 20 and np.ptp(np.nonzero(lower)[0]) > 200


def test_bad_points(tmp_path):
    with pytest.raises(
        ValueError, match=r"real points must be \(n, \*dims\), all of the same dims, got shape \(3, 2\)"
    ):
        plots.scatter(tmp_path / "a.png", np.zeros((3, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"generated points must be \(n, \*dims\), .* got shape \(3,\)"):
        plots.scatter(tmp_path / "a.png", np.zeros(3))
    with pytest.raises(ValueError, match="real points must be finite"):
        plots.scatter(tmp_path / "a.png", np.zeros((3, 2)), np.full((3, 2), np.nan))
    assert not list(tmp_path.iterdir())


def test_reporting_is_light_and_leaves_pyplot_alone(tmp_path):
    code = """
import sys, numpy as np
from diffax import reporting
print(sorted({"jax", "matplotlib", "PIL", "tensorboardX", "tqdm"} & set(sys.modules)))
reporting.plots.scatter(sys.argv[1], np.zeros((1, 2)), np.zeros((1, 2)))
print("matplotlib.pyplot" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\nFalse\n"


def test_the_columns_of_a_table_are_drawn(tmp_path):
    table = samplers.unipc(schedules.Cosine(), samplers.grids.uniform(8))
    columns = table.columns()
    assert next(iter(columns)) == "t" and all(column.shape == (8,) for column in columns.values())
    plots.curves(tmp_path / "table.png", table.name, columns)
    with Image.open(tmp_path / "table.png") as image:
        assert image.format == "PNG" and min(image.size) > 300
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20  # lines of several colours
    with pytest.raises(ValueError, match="as long as each other"):
        plots.curves(tmp_path / "no.png", "no", {"a": [1.0], "b": [1.0, 2.0]})
    assert not (tmp_path / "no.png").exists()


def test_lines_are_drawn_in_panels(tmp_path):
    x = np.array([1.0, 10.0, 100.0])
    panels = {"error": {"one": (x, 1 / x), "two": (x, 1 / x**2)}, "cost": {"two": (x, np.array([1.0, np.nan, 3.0]))}}
    plots.lines(tmp_path / "lines.png", panels, xlabel="steps", log="x", dashed=["two"])
    with Image.open(tmp_path / "lines.png") as image:
        assert image.format == "PNG" and image.size[0] > image.size[1]  # side by side
        # A name keeps its colour: the first two of matplotlib's tab10, and no third.
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24)}
        assert {(31, 119, 180), (255, 127, 14)} <= colours and (44, 160, 44) not in colours
