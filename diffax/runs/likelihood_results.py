"""Results of --mode likelihood: means with standard errors, over all examples and by class; as text and files."""

import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diffax.data.examples import Examples
from diffax.evaluation import detection
from diffax.reporting import atomic, formats, tables
from diffax.runs.likelihood import WAYS, Likelihood, Values

# The name of the data themselves among what was measured.
DATA = "data"
_NAMES = {"ode": "ODE", "bound": "bound", "continuous_bound": "continuous-time bound"}
_PROBE_ERRORS = {
    "ode": "ode_probe_error",
    "bound": "bound_draw_error",
    "continuous_bound": "continuous_bound_draw_error",
}
# The parts of the two bounds, and their names in results.json.
_PARTS = {name: f"bound_{name}" for name in ("prior", "kl", "decoder")} | {
    "continuous_prior": "continuous_bound_prior",
    "reconstruction": "continuous_bound_reconstruction",
    "diffusion": "continuous_bound_diffusion",
}


def summarized(
    how: Likelihood, examples: Examples, labels: np.ndarray | None, measured: Mapping[str, Values]
) -> dict[str, Any]:
    """All but the values of the single examples, as values of JSON.

    Args:
      labels: of the examples that were measured; None for data without.
      measured: values of `Likelihood.measure` by the name of the examples: DATA, noise, shifted.
    """
    config = how.model.config.likelihood
    results: dict[str, Any] = {
        "data": f"{examples.name}, {len(measured[DATA][_ways(measured[DATA])[0]]):,} of {len(examples):,} examples",
        "unit": f"{how.unit} per dimension",
        "settings": json.loads(json.dumps(config.to_dict()))
        | {"variance": how.variance, "num_steps": len(how.times)}
        | {"thresholding": how.model.config.sampler.thresholding.to_dict()},
        "bins": None if how.bins is None else {"num_levels": how.bins.num_levels, "width": how.bins.width},
        "trained_on_dequantized_data": how.is_dequantized,
        "conditions": sorted(name for name in how.model.network.conditions if name in examples.batch(np.arange(1))),
        "all": _summary(measured[DATA]),
    }
    if labels is not None:
        results["by_class"] = {
            _class_name(examples, label): _summary({name: v[labels == label] for name, v in measured[DATA].items()})
            for label in np.unique(labels)
        }
    results["against"] = {
        name: _summary(values)
        | {f"{way}_auroc": detection.auroc(measured[DATA][way], values[way]) for way in _ways(values)}
        for name, values in measured.items()
        if name != DATA
    }
    return results


def _summary(values: Values) -> dict[str, Any]:
    """Means, their standard errors over examples, and the part of these that is of probes or drawn steps."""
    num = len(next(iter(values.values())))
    summary: dict[str, Any] = {"num_examples": num}
    for way, of_probes in _PROBE_ERRORS.items():
        if way not in values:
            continue
        summary[way] = float(values[way].mean())
        summary[f"{way}_standard_error"] = float(values[way].std(ddof=1) / np.sqrt(num)) if num > 1 else None
        error = float(np.sqrt((values[of_probes] ** 2).sum()) / num)
        summary[of_probes] = error if np.isfinite(error) else None
    summary |= {key: float(values[name].mean()) for name, key in _PARTS.items() if name in values}
    if "num_evaluations" in values:
        count = values["num_evaluations"]
        summary["num_evaluations"] = {"mean": float(count.mean()), "least": int(count.min()), "most": int(count.max())}
    return summary


def name(results: Mapping[str, Any]) -> str:
    """A name that differs for all that was asked for: dequantization, number of examples, and a hash."""
    asked = {key: results[key] for key in ("data", "settings", "run")} | {"against": sorted(results["against"])}
    asked["ways"] = _ways(results["all"])
    content = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:6]
    kind = "points" if results["bins"] is None else results["settings"]["dequantization"]["name"].replace(":", "-")
    return f"{kind}_{results['all']['num_examples']}_{content}"


def write(
    directory: pathlib.Path,
    results: Mapping[str, Any],
    rows: np.ndarray,
    labels: np.ndarray | None,
    measured: Mapping[str, Values],
) -> None:
    """Writes results.json and examples.npz."""
    arrays = {"row": rows}
    arrays |= {} if labels is None else {"label": labels}
    for of_set, values in measured.items():
        prefix = "" if of_set == DATA else f"{of_set}_"
        arrays |= {prefix + key: value for key, value in values.items()}
    with atomic.replacing(directory / "examples.npz") as file:
        np.savez(file, allow_pickle=False, **arrays)
    with atomic.replacing(directory / "results.json") as file:
        file.write((json.dumps(results, indent=2) + "\n").encode())


def text(results: Mapping[str, Any]) -> str:
    """A table for a terminal, and how its values came about."""
    ways = _ways(results["all"])
    has_auroc = bool(results["against"])
    header = ["examples", "number", *(f"{_NAMES[way]}, {results['unit']}" for way in ways)]
    header += [f"AUROC by {_NAMES[way]}" for way in ways] if has_auroc else []
    rows = []
    for label, summary in (
        ("all", results["all"]),
        *((f"class {key}", one) for key, one in results.get("by_class", {}).items()),
        *results["against"].items(),
    ):
        cells = [label, str(summary["num_examples"])]
        cells += [formats.with_error(summary[way], summary[f"{way}_standard_error"]) for way in ways]
        if has_auroc:
            cells += [f"{summary[f'{way}_auroc']:.3f}" if f"{way}_auroc" in summary else "" for way in ways]
        rows.append(cells)
    return "\n".join([tables.aligned(header, rows), *_notes(results)])


def _notes(results: Mapping[str, Any]) -> Iterator[str]:
    run, settings, total = results["run"], results["settings"], results["all"]
    under = f", each under its own {', '.join(results['conditions'])}" if results["conditions"] else ""
    yield f"{results['data']}{under}; step {run['step']}, average {run['average']}; ± is over examples."
    if "ode" in total:
        yield _ode_note(results)
        is_uniform, with_noise = settings["dequantization"]["name"] == "uniform", results["trained_on_dequantized_data"]
        if results["bins"] is not None and is_uniform != with_noise:
            how = "on uniformly dequantized data" if with_noise else "on the levels themselves"
            better = "uniform" if with_noise else "truncated_normal"
            yield f"The model was trained {how}: dequantization {better} gives a tighter bound."
    if "bound" in total:
        drawn = settings["num_draws"]
        how_many = f"{drawn} of its steps drawn for each example" if drawn else "all of its steps"
        error = f"; ± {total['bound_draw_error']:.2g} is of the drawn steps" if drawn else ""
        of = " of uniformly dequantized data" if results["trained_on_dequantized_data"] else ""
        yield (
            f"Bound: {settings['num_steps']} steps of {settings['variance']} variance{of}, {how_many}{error}; prior "
            f"{total['bound_prior']:.3g}, KL {total['bound_kl']:.4g}, decoder {total['bound_decoder']:.3g}."
        )
    if "continuous_bound" in total:
        of = " of uniformly dequantized data" if results["trained_on_dequantized_data"] else ""
        yield (
            f"Continuous-time bound{of}: {settings['num_draws'] // 2 * 2} times drawn for each example; ± "
            f"{total['continuous_bound_draw_error']:.2g} is of these; prior {total['continuous_bound_prior']:.3g}, "
            f"diffusion {total['continuous_bound_diffusion']:.4g}, reconstruction "
            f"{total['continuous_bound_reconstruction']:.3g}."
        )


def _ode_note(results: Mapping[str, Any]) -> str:
    settings, total = results["settings"], results["all"]
    count, chosen, of = total["num_evaluations"], settings["dequantization"], settings["divergence"]
    probes = "exact divergence" if of["name"] == "exact" else f"{of.get('num_probes', 1)} {of['name']} probe(s)"
    error = f", ± {total['ode_probe_error']:.2g} is of the probes" if of.get("num_probes", 1) > 1 else ""
    bins = results["bins"]
    if bins is None:
        noise = "a log-density"
    else:
        options = ", ".join(f"{key} {value}" for key, value in chosen.items() if key != "name")
        noise = (
            f"{chosen['name']} dequantization{f' ({options})' if options else ''}, bins of width {bins['width']:.4g}"
        )
        noise += f" = {-np.log2(bins['width']):.4f} bits"
    return (
        f"ODE: {noise}; {probes}{error}; tolerance {settings['tolerance']:g}; {count['mean']:.0f} evaluations an "
        f"example ({count['least']} to {count['most']})."
    )


def _ways(values: Mapping[str, Any]) -> list[str]:
    return [way for way in WAYS if way in values]


def _class_name(examples: Examples, label: Any) -> str:
    return str(label) if examples.class_names is None else examples.class_names[int(label)]
