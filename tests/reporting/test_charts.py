import re
from xml.etree import ElementTree

import numpy as np
import pytest

from diffax.reporting import charts
from diffax.reporting.charts import Series

SVG = "{http://www.w3.org/2000/svg}"


def parsed(*series, **options):
    return ElementTree.fromstring(charts.chart(series, **{"xlabel": "x", "ylabel": "y"} | options))


def scale(root, kind, log=False):
    """From a position in the picture to a value, by the first and the last tick of an axis alone."""
    ticks = [text for text in root.iter(f"{SVG}text") if text.get("class") == f"{kind}-tick"]
    values = [float(tick.text.replace("k", "e3").replace("M", "e6")) for tick in ticks]
    # A tick's label is centred under its line, or 4 below the middle of its line.
    places = [float(tick.get(kind)) - (4 if kind == "y" else 0) for tick in ticks]
    values = np.log(values) if log else np.asarray(values)
    slope = (values[-1] - values[0]) / (places[-1] - places[0])

    def value(place):
        linear = values[0] + slope * (np.asarray(place) - places[0])
        return np.exp(linear) if log else linear

    return value


def line_of(root, index=0):
    points = list(root.iter(f"{SVG}polyline"))[index].get("points")
    return np.array([[float(number) for number in point.split(",")] for point in points.split()]).T


@pytest.mark.parametrize("log", ["", "x", "y", "xy"])
def test_points_of_a_line_are_where_its_ticks_say(log):
    x, y = np.array([1.0, 3.0, 20.0, 400.0]), np.array([0.5, 7.0, 0.02, 90.0])
    root = parsed(Series("loss", x, y), log=log)
    across, down = line_of(root)
    # Places are written to a tenth of a unit, of 368 and 176.
    x_again, y_again = scale(root, "x", "x" in log)(across), scale(root, "y", "y" in log)(down)
    for again, exact, is_log in ((x_again, x, "x" in log), (y_again, y, "y" in log)):
        if is_log:
            np.testing.assert_allclose(again, exact, rtol=0.01)
        else:
            np.testing.assert_allclose(again, exact, atol=0.002 * np.ptp(exact))


def test_error_bars_reach_one_error_up_and_down():
    y, error = np.array([1.0, 2.0, 4.0]), np.array([0.5, np.nan, 1.0])
    root = parsed(Series("a", [1, 2, 3], y, error, style="points"))
    value = scale(root, "y")
    bars = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("stroke") == "currentColor"]
    ends = [re.match(r"M\S+ (\S+)V([\d.]+)", bar).groups() for bar in bars]
    reached = [[value(float(end)) for end in pair] for pair in ends]
    np.testing.assert_allclose(reached, [[0.5, 1.5], [3.0, 5.0]], atol=0.02)
    titles = [circle.find(f"{SVG}title").text for circle in root.iter(f"{SVG}circle")]
    assert titles == ["a: 1, 1.00 ± 0.50", "a: 2, 2", "a: 3, 4.0 ± 1.0"]


def test_what_an_axis_cannot_show_is_left_out():
    x, y = [1, 2, 3, 4, 5], [1.0, np.nan, np.inf, -1.0, 10.0]
    assert line_of(parsed(Series("a", x, y), log="y")).shape == (2, 2)
    assert line_of(parsed(Series("a", x, y))).shape == (2, 3)
    empty = parsed(Series("a", [1.0], [np.nan]))
    assert "no finite values" in [text.text for text in empty.iter(f"{SVG}text")]
    [circle] = parsed(Series("a", [3.0], [7.0])).iter(f"{SVG}circle")
    assert 60 < float(circle.get("cx")) < 430


def test_long_lines_are_thinned_to_their_last_point():
    x = np.arange(12_345.0)
    root = parsed(Series("a", x, np.sin(x)))
    across, _ = line_of(root)
    assert 900 < across.size <= 1001
    assert scale(root, "x")(across[-1]) == pytest.approx(12_344, abs=40)


def test_names_on_an_axis_and_in_the_legend_are_escaped():
    hostile = '<script>alert("1")</script>\x00&'
    text = charts.chart(
        [Series(hostile, [0, 1], [1, 2], labels=[hostile] * 2, style="points"), Series("b", [0], [1])],
        xlabel=hostile,
        ylabel=hostile,
        xticks={0.0: hostile, 1.0: "<b>"},
    )
    assert "<script" not in text and "<b>" not in text and "\x00" not in text
    root = ElementTree.fromstring(text)
    shown = "".join(root.itertext())
    assert '<script>alert("1")</script>?&' in shown and "<b>" in shown


def test_series_of_one_name_share_a_colour_and_a_legend_entry():
    root = parsed(Series("a", [0, 1], [0, 1]), Series("b", [0, 1], [1, 0]), Series("a", [0, 1], [2, 3]))
    colours = [group.get("style") for group in root.iter(f"{SVG}g") if group.get("class") == "series"]
    assert colours[0] == colours[2] != colours[1] and "var(--series-0" in colours[0]
    names = [text.text for text in root.iter(f"{SVG}text") if text.find(f"{SVG}title") is not None]
    assert names == ["a", "b"]


def test_series_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"series 'a' needs x, y and error \(n,\), got \(2,\), \(3,\)"):
        charts.chart([Series("a", [1, 2], [1, 2, 3])], xlabel="x", ylabel="y")


@pytest.mark.parametrize("lowest", [True, False])
def test_pareto_front_is_what_nothing_dominates(lowest):
    rng = np.random.default_rng(0)
    cost, value = rng.integers(1, 9, 60).astype(float), rng.integers(0, 12, 60).astype(float)
    cost[3], value[4] = np.nan, np.nan
    loss = value if lowest else -value
    front = charts.pareto_front(cost, value, lowest_is_best=lowest)
    undominated = {
        (c, v)
        for c, v in zip(cost, loss, strict=True)
        if np.isfinite(c + v) and not np.any((cost <= c) & (loss <= v) & ((cost < c) | (loss < v)))
    }
    assert [*zip(cost[front], loss[front], strict=True)] == sorted(undominated)
