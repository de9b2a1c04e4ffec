"""Records for the page of claims: the figures of each ablation, and the results of its comparisons."""

import json
from pathlib import Path
from typing import Any

from ...utils.errors import UsageError
from ...utils.textfile import parse_json, write_text
from .design import CHANCE, Ablation, Comparison
from .verdicts import compare

RECORDS = "ablations"  # folder of the records and plots, beside the page

Result = dict[str, Any]  # figures, spec, minutes, date
Results = dict[str, list[Result]]  # by variant, one for each training
Record = dict[str, Any]


def record(ablation: Ablation, results: Results, scale: str, weights: str) -> Record:
    """Returns all that the page says of an ablation, as plain values.

    Args:
        ablation: The ablation.
        results: Results of each variant.
        scale: Scale of the models that were trained.
        weights: What the page calls the weights that were not trained for it.
    """
    found = [result for runs in results.values() for result in runs]
    specs = [result["spec"] for result in found]
    versions = {f"{name} {version}" for spec in specs for name, version in spec["versions"].items()}
    digests = {f"{stage} {digest[:8]}" for spec in specs for stage, digest in spec["weights"].items()}
    seeds = sorted({spec["settings"]["seed"] for spec in specs})
    minutes = sum(result["minutes"] for result in found)
    return {
        "title": ablation.title,
        "claim": ablation.claim,
        "note": ablation.note,
        "weights": weights,
        "metrics": ablation.metrics,
        "comparisons": [_compare(ablation, results, pair) for pair in ablation.compare],
        "variants": {
            name: {
                "trained": ", ".join(f"{t.run.name} {t.steps[scale]} steps" for t in variant.runs),
                "trainings": len(results[name]) if variant.runs else 0,
                "figures": {metric: _figures(results[name], metric) for metric in ablation.metrics},
            }
            for name, variant in ablation.variants.items()
        },
        "origin": [
            max(result["date"] for result in found),
            f"scale {scale}",
            *sorted(versions),
            *sorted(digests),
            f"seed of the instrument {', '.join(map(str, seeds))}",
            f"judged in {minutes:.1f} minutes",
        ],
    }


def _compare(ablation: Ablation, results: Results, pair: Comparison) -> dict[str, Any]:
    is_chance = pair.than == CHANCE and CHANCE not in ablation.variants
    figures = {name: [result["figures"][pair.metric] for result in runs] for name, runs in results.items()}
    baseline = ablation.chance[pair.metric] if is_chance else figures[pair.than]
    smallest = ablation.smallest.get(pair.metric, 0.0)
    outcome = compare(pair.metric, figures[pair.better], baseline, smallest=smallest, margin=pair.margin)
    arms = [ablation.variants[name] for name in (pair.better, pair.than) if name in ablation.variants]
    trainings = max((len(ablation.seeds) for variant in arms if variant.runs), default=0)
    limit = {"smallest": smallest} if pair.margin is None else {"margin": pair.margin}
    names = {"better": pair.better, "than": pair.than, "metric": pair.metric}
    return names | limit | outcome._asdict() | {"trainings": trainings}


def _figures(runs: list[Result], metric: str) -> list[dict[str, float]]:
    """Returns the figures of each training, without the values of single items."""
    return [{key: run["figures"][metric][key] for key in ("value", "low", "high", "n")} for run in runs]


def read_records(out: Path) -> dict[str, Record]:
    """Reads the records of a folder, by name of their ablation.

    Raises:
        UsageError: If one is not JSON.
    """
    records = {}
    for path in sorted((out / RECORDS).glob("*.json")):
        try:
            records[path.stem] = parse_json(path.read_bytes())
        except ValueError as error:
            raise UsageError(f"{path}: is no record of an ablation ({error}): delete it") from error
    return records


def write_record(out: Path, name: str, found: Record) -> None:
    """Writes a record where ``read_records`` finds it."""
    write_text(out / RECORDS / f"{name}.json", json.dumps(found, indent=1) + "\n")
