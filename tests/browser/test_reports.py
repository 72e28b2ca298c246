"""Reports as a browser shows them: `make test-browser`. SCREENSHOTS=DIR keeps a picture of every page."""

import io
import json
import math
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from diffax import config as settings
from diffax import resolve
from diffax.reporting import images
from diffax.runs import reports
from tests.browser import chromium

WINDOWS = {"light": (1200, False), "dark": (1200, True), "phone": (390, False), "dark_phone": (390, True)}
HOSTILE = "<script>console.error('ran')</script><img src='https://example.invalid/x.png'>"
STEPS = (100, 200, 300)


@pytest.fixture(scope="session")
def tab(tmp_path_factory):
    with chromium.running(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """{kind: report.html} of a run, a sweep and an evaluation, with texts that are markup."""
    root = tmp_path_factory.mktemp("reports")
    return {kind: make(root / kind) for kind, make in (("run", _run), ("sweep", _sweep), ("evaluation", _evaluation))}


def _run(workdir):
    rng = np.random.default_rng(0)
    for step in STEPS:
        images.save_png(workdir / "samples" / f"{step:08d}.png", rng.uniform(-1, 1, (64, 8, 8, 1)))
    lines = [{"step": s, "loss": math.exp(-s / 90), "learning_rate": 1e-3, "grad_norm": 1.0} for s in range(1, 301)]
    lines += [
        {"step": s, "held_out_loss": 1 / s, HOSTILE: 2.0, "score": 1 / s, "score_standard_error": 0.1 / s}
        for s in STEPS
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workdir / "environment.json").write_text(json.dumps({"processor": HOSTILE, "git_commit": "0" * 40}))
    return reports.write_run(workdir, resolve.resolve(settings.default()), None)


def _sweep(directory):
    points = []
    for i, rate in enumerate([1e-4, 1e-3, 1e-2]):
        (directory / f"p{i}").mkdir(parents=True)
        lines = [{"step": step, "loss": math.exp(-step * rate)} for step in range(1, 50)]
        (directory / f"p{i}" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        values = {"optimizer.learning_rate": rate, "model.name": HOSTILE if i else "unet"}
        last = {"step": 49, "value": rate}
        points.append({"name": f"p{i}", "path": f"p{i}", "state": "finished", "values": values, "last": last})
    (directory / "summary.json").write_text(json.dumps({"metric": HOSTILE, "points": points}))
    return reports.write_other(directory)


def _evaluation(directory):
    directory.mkdir()
    measurements = [
        {"metric": "frechet/pixels@2000", "value": factor / calls, "standard_error": 0.1 / calls, "n": 2000}
        | {"run": HOSTILE, "sampler": sampler, "num_evaluations": calls, "guidance": 1.0, "average": "constant"}
        for sampler, factor in (("ddim", 4.0), ("unipc", 1.0))
        for calls in (5, 10, 50)
    ]
    (directory / "results.json").write_text(json.dumps({"measurements": measurements}))
    return reports.write_other(directory)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", ["run", "sweep", "evaluation"])
def test_a_page_fits_its_window_asks_for_nothing_and_has_no_errors(tab, pages, kind, window):
    width, dark = WINDOWS[window]
    url = pages[kind].as_uri()
    tab.open(url, width=width, dark=dark)
    assert tab.requests() == [url] and tab.complaints() == []
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    # Nothing but tables and code may be wider than the page.
    wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre') && "
    assert (
        tab.evaluate(wide + f"e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 99))") == []
    )
    # No text is smaller than can be read.
    sizes = "[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height).filter(h => h > 0)"
    upright = "[...document.querySelectorAll('.x-tick')].map(e => e.getBoundingClientRect().height).filter(h => h > 0)"
    assert len(tab.evaluate(sizes)) > 5 and min(tab.evaluate(upright)) >= 9
    picture = tab.screenshot()
    assert _contrast(picture) == ("dark" if dark else "light")
    if "SCREENSHOTS" in os.environ:
        folder = pathlib.Path(os.environ["SCREENSHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{kind}_{window}.png").write_bytes(picture)


def _contrast(picture):
    """light or dark, by the page's most frequent grey; its text must be at the other end."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L"))
    background = np.bincount(pixels.ravel()).argmax()
    assert (pixels.min() < 60) and (pixels.max() > 200)
    return "dark" if background < 64 else "light" if background > 220 else f"grey {background}"


@pytest.mark.parametrize("dark", [False, True])
def test_lines_and_text_of_a_chart_stand_out_from_the_page(tab, pages, dark):
    """WCAG 2.2 asks for a contrast of 3 between graphics and background, and 4.5 for text."""
    tab.open(pages["sweep"].as_uri(), dark=dark)
    colours = tab.evaluate(
        "[document.body, ...document.querySelectorAll('.series'), document.querySelector('.x-tick')]"
        ".map((e, i) => getComputedStyle(e)[i ? 'color' : 'backgroundColor'])"
    )
    background, *series, text = (_luminance(colour) for colour in colours)
    assert min(_ratio(background, one) for one in series) >= 3 and _ratio(background, text) >= 4.5


def _luminance(colour):
    """Relative luminance of "rgb(r, g, b)"."""
    channels = np.array([int(part) for part in colour[4:-1].split(",")]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _ratio(a, b):
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


@pytest.mark.parametrize("width", [1200, 390])
def test_the_slider_changes_the_picture(tab, pages, width):
    tab.open(pages["run"].as_uri(), width=width)
    visible = (
        "[...document.querySelectorAll('.pictures img')].filter(e => e.offsetHeight > 0).map(e => e.dataset.label)"
    )
    place = "(e => [e.left, e.top, e.width, e.height])(document.querySelector('.pictures {}').getBoundingClientRect())"
    assert tab.evaluate(visible) == ["step 300"]
    tab.evaluate("document.querySelector('.pictures').scrollIntoView()")
    before = _shown(tab, tab.evaluate(place.format("img:not([hidden])")))
    left, top, _, height = tab.evaluate(place.format("input"))
    for kind in ("mousePressed", "mouseReleased"):  # at the left end: the first step
        tab.send("Input.dispatchMouseEvent", type=kind, x=left + 4, y=top + height / 2, button="left", clickCount=1)
    assert tab.evaluate(visible) == ["step 100"]
    assert tab.evaluate("document.querySelector('.pictures output').value") == "step 100"
    after = _shown(tab, tab.evaluate(place.format("img:not([hidden])")))
    assert before.shape == after.shape and np.mean(before != after) > 0.2
    for kind in ("keyDown", "keyUp"):
        tab.send("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39)
    assert tab.evaluate(visible) == ["step 200"] and tab.complaints() == []


def _shown(tab, place):
    """The pixels of a rectangle of the window."""
    left, top, width, height = (round(value) for value in place)
    picture = np.asarray(Image.open(io.BytesIO(tab.screenshot(whole_page=False))).convert("L"))
    return picture[top : top + height, left : left + width]
