"""`chestseg external LIST`: one model on several datasets, beside what others have published on them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chestseg import __version__
from chestseg.bundle import Bundle
from chestseg.cli.evaluate import evaluate_bundle
from chestseg.config.external import External, ExternalData, load_external
from chestseg.config.location import inside
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.cluster import require_shared
from chestseg.evaluation.folds import aligned
from chestseg.evaluation.report import REPORT
from chestseg.evaluation.score import other_track
from chestseg.evaluation.summary import ScoreTable
from chestseg.evaluation.words import NAMES, number, with_span
from chestseg.evaluation.write import values_of
from chestseg.files import whole_file
from chestseg.inference.locate import open_bundle
from chestseg.inference.predictors import predictor_of
from chestseg.page import Block, Heading, Note, Page, Table, write_page
from chestseg.storage.copies import results
from chestseg.tracking.evaluations import log_run, require_reachable

TABLE, PAGE = "external.csv", "external.html"


def run(config_path: str, overrides: Sequence[str] = ()) -> int:
    """Evaluate on each dataset, with its own report, and write the table of all.

    Raises:
        ValueError: a dataset is missing, of the other track or not prepared for the model; no such model; MLflow can't be reached; the
            bucket is away or refuses; a path that would vanish with a submitted job.
    """
    external = load_external(config_path, overrides)
    require_shared(*(one.prepared for one in external.datasets), external.storage)
    datasets = [PreparedDataset.open(one.prepared) for one in external.datasets]
    bundle = open_bundle(external.model, external.tracking.uri)
    for dataset in datasets:
        if (dataset.KIND == "volumes") != (bundle.spec.track == "ct"):
            raise other_track(predictor_of(bundle), dataset)
    require_reachable(external.tracking)
    cases = [cases_of(one, dataset) for one, dataset in zip(external.datasets, datasets, strict=True)]
    tables = dict[str, ScoreTable]()
    with results(external.folder) as folder:
        for one, dataset, indices in zip(external.datasets, datasets, cases, strict=True):
            print(f"{one.name}: {len(indices)} cases", flush=True)
            evaluated = evaluate_bundle(bundle, dataset, indices, one.split, notes(bundle, dataset, one), folder / one.name)
            tables[one.name] = evaluated.scores
        write(external, bundle, tables, folder)
    print(inside(external.folder, PAGE))
    return 0


def cases_of(one: ExternalData, dataset: PreparedDataset) -> np.ndarray:
    """Indices of the cases that are asked for.

    Raises:
        ValueError: there are none.
    """
    indices = np.arange(len(dataset)) if one.split == "all" else dataset.indices("test")
    if not len(indices):
        raise ValueError(f"{one.prepared}: no case in its {one.split} split: give split: all")
    return indices


def notes(bundle: Bundle, dataset: PreparedDataset, one: ExternalData) -> list[str]:
    """What the bundle's record says of having seen the cases."""
    if dataset.hash == bundle.spec.dataset_hash and one.split == "all":
        return [f"trained on {one.name}: this is not a held-out score; give split: test"]
    return []


def write(external: External, bundle: Bundle, tables: dict[str, ScoreTable], folder: Path) -> None:
    """The table as CSV, as a page and on the screen; all to MLflow but the tables of cases."""
    head, rows = beside_published(external, bundle, tables)
    with whole_file(folder / TABLE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    caption = f"{NAMES[external.metric]}; in brackets the 95 % interval over patients, where it is known. Others' figures are as published."
    blocks: list[Block] = [
        Heading("Beside what is published"),
        Table(head, rows, caption),
        Note("Others may have compared masks at another spacing, on other cases or annotations of the same name, or left out empty ones."),
    ]
    for name, table in tables.items():
        scores = [(NAMES[key], with_span(key, e)) for key, e in table.overall.scores.items() if key in NAMES]
        count = f"{table.overall.cases} cases of {table.overall.patients} patients; {table.compared}."
        blocks += [Heading(name), Table(["score", "value"], scores, count), *(Note(warning) for warning in table.warnings)]
    summary = f"{bundle.spec.name} ({bundle.digest[:12]}) on {len(tables)} datasets."
    write_page(Page(external.name, summary, blocks, f"chestseg {__version__}. Research use only: not a medical device."), folder / PAGE)
    files = [(folder / PAGE, "external"), (folder / TABLE, "external")]
    files += [(folder / name / REPORT, f"external/{name}") for name in tables]
    metrics = {f"{name}_{key}": value for name, table in tables.items() for key, value in values_of(table.overall).items()}
    log_run(external.tracking, f"external {external.name}", {"bundle_sha256": bundle.digest}, metrics, files)
    print(f"\n{NAMES[external.metric]}\n{aligned([head, *rows])}")


def beside_published(external: External, bundle: Bundle, tables: dict[str, ScoreTable]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: ours with intervals first, then others' figures; a column for each dataset that anybody has."""
    names = list(dict.fromkeys([*tables, *(name for one in external.published for name in one.values)]))
    metric = external.metric
    ours = [with_span(metric, tables[name].overall.scores[metric]) if name in tables else "-" for name in names]
    rows = [[f"{bundle.spec.name} (this model)", *ours, ""]]
    for one in external.published:
        rows.append([one.method, *(number(metric, one.values.get(name)) for name in names), one.source])
    return ["", *names, "source"], rows
