"""The model card: what a model is for and what it is not, what it learned from, its scores with intervals, and how to make it again.

Sections follow Mitchell et al. 2019, Model Cards for Model Reporting. It travels in the bundle as README.md and names no patient or path.
"""

from collections.abc import Iterator, Mapping, Sequence

import yaml

from chestseg.bundle import BundleSpec
from chestseg.evaluation.summary import EVERYONE, GroupScores, ScoreTable
from chestseg.evaluation.words import NAMES, number, span, with_span

USE = {
    "cxr": "It outlines pneumothorax on frontal chest radiographs of adults and says whether there is one.",
    "ct": "It outlines infiltrates (ground glass and consolidation, as one class) of COVID-19 on chest CT and gives their volume.",
}
SPLITS = {
    "test": "the frozen test split, which no step of training or choosing looked at",
    "validation": "the held-out fold, on which epochs, windows of averaging or post-processing may have been chosen: a little too good",
    "out_of_fold": "all training cases, each scored by a network and a rule that did not see it",
}
SHOWN = ("mean_dice", "dice_positives", "sensitivity", "specificity")


def model_card(spec: BundleSpec, tables: Mapping[str, ScoreTable]) -> str:
    """The card as Markdown.

    Args:
        spec: of the bundle.
        tables: scores by split.
    """
    return "\n".join([*_use(spec, bool(tables)), *_data(spec), *_scores(tables), *_again(spec)]).rstrip() + "\n"


def _use(spec: BundleSpec, scored: bool) -> Iterator[str]:
    members = f" {spec.members} networks whose probabilities are averaged." if spec.members > 1 else ""
    seen = spec.preprocessing.model_dump()
    yield f"# {spec.name}\n"
    yield f"{USE.get(spec.track, '')} **For research only: this is not a medical device, and nobody may be treated by what it says.**\n"
    yield "## Limits\n"
    yield "- It was scored on the data named below and says nothing about other hospitals, devices, views, ages or diseases."
    yield "- A score on few patients is uncertain: read the intervals. Subgroups that are missing below were not looked at."
    if spec.track == "cxr":
        known = "the expected calibration error below says how far off it is" if scored else "nobody has measured how far off it is"
        yield f"- Its probability of disease was not taught to be calibrated: {known}."
    yield "- It finds what its annotators drew, mistakes included.\n"
    yield "## Model\n"
    yield f"{spec.model.architecture} with encoder {spec.model.encoder}.{members}"
    yield f"Sees: {_pairs(seen)}. Post-processing: {_pairs(spec.postprocessing.model_dump())}.\n"


def _data(spec: BundleSpec) -> Iterator[str]:
    fold = spec.experiment.get("fold", "not stated")
    chosen = spec.experiment.get("choose")
    yield "## Data\n"
    yield f"Dataset {spec.dataset_hash} (a hash over all pixels, masks and the split). Held-out fold in training: {fold}."
    if spec.members > 1:
        yield "Each member held out another fold, so that together they learned from all training cases."
    if chosen:
        yield f"Post-processing was chosen on held-out training cases by {chosen['name']}; test cases cannot reach that step."
    yield ""


def _scores(tables: Mapping[str, ScoreTable]) -> Iterator[str]:
    yield "## Scores\n"
    if not tables:
        yield "None: no case was held out.\n"
    for split, table in tables.items():
        overall = table.overall
        yield f"On {SPLITS.get(split, split)}: {overall.cases} cases of {overall.patients} patients, {overall.positives} positive;"
        yield f"{table.compared}. Intervals: 95 %, bootstrap over patients.\n"
        rows = [(NAMES[name], number(name, e.value), span(name, e)) for name, e in overall.scores.items() if name in NAMES]
        yield from _table(("score", "value", "95 % interval"), rows)
        yield f"Predicting nothing has a mean Dice of {number('mean_dice', overall.scores['all_empty'].value)}.\n"
        yield from (f"- {warning}" for warning in table.warnings)
        yield ""
        if len(table.groups) > 1:
            columns = ("group", "cases", *(NAMES[name] for name in SHOWN))
            yield from _table(columns, [_group(group) for group in table.groups if group.by != EVERYONE])


def _group(group: GroupScores) -> tuple[str, ...]:
    return (f"{group.by}: {group.group}", str(group.cases), *(with_span(name, group.scores.get(name)) for name in SHOWN))


def _again(spec: BundleSpec) -> Iterator[str]:
    yield "## How to make it again\n"
    yield f"chestseg {spec.code_version}, the dataset above, and this experiment with its paths filled in (`chestseg train`):\n"
    yield f"```yaml\n{yaml.safe_dump(spec.experiment, sort_keys=False).strip()}\n```"


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (columns, ["---"] * len(columns), *rows):
        yield "| " + " | ".join(cells) + " |"
    yield ""
