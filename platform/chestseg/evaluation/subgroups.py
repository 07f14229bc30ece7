"""Which cases of an evaluation belong together: by size of the lesion, view, sex, age and source, where the files say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chestseg.data.prepared import PreparedDataset
from chestseg.metrics import CaseScore
from chestseg.metrics_volume import VolumeScore

NOT_STATED = "not stated"
BANDS = (0, 18, 40, 60, 80)
"""First year of each band of ages."""
OLDEST = 120
"""Greater ages are typing errors; ChestX-ray14, which SIIM-ACR's images come from, has some of 400 years."""
SEXES = {"F": "female", "M": "male", "O": "other"}
"""PatientSex, DICOM PS3.3 C.7.1.1."""
VIEWS = ("AP", "PA")
"""ViewPosition, DICOM PS3.3 C.8.1.1."""

Groups = dict[str, np.ndarray]
"""Members (n,) bool of each group by its name, in the order to show them."""


@dataclass(frozen=True)
class CaseFacts:
    """What the manifest says of an evaluation's cases, in the order of its rows."""

    patients: tuple[str, ...]
    """For grouping, never empty: a case without a PatientID is a patient of its own."""
    unnamed: int
    """Cases without a PatientID."""
    view: tuple[str | None, ...]
    sex: tuple[str | None, ...]
    age: tuple[str | None, ...]
    """As in DICOM: three digits and D, W, M or Y."""


def case_facts(dataset: PreparedDataset, case_ids: Sequence[str]) -> CaseFacts:
    """What the dataset's manifest says of the cases.

    Raises:
        ValueError: the dataset has no such case.
    """
    places = {case_id: place for place, case_id in enumerate(dataset.case_ids)}
    missing = [case_id for case_id in case_ids if case_id not in places]
    if missing:
        raise ValueError(f"{dataset.folder} has no case {missing[0]!r} ({len(missing)} in all): give the dataset that was evaluated")
    chosen = [places[case_id] for case_id in case_ids]
    named, view, sex, age = (dataset.table[column].take(chosen).to_pylist() for column in ("patient_id", "view", "sex", "age"))
    return CaseFacts(
        patients=tuple(dataset.patient_ids[place] for place in chosen),
        unnamed=sum(not patient for patient in named),
        view=tuple(view),
        sex=tuple(sex),
        age=tuple(age),
    )


def subgroups(rows: Sequence[CaseScore] | Sequence[VolumeScore], facts: CaseFacts) -> dict[str, Groups]:
    """The groupings that tell cases apart, by name; one that puts all cases together, or about which no file says anything, is left out."""
    groupings = {
        "lesion size": lesion_sizes(rows),
        "view": _named([_view(view) for view in facts.view], VIEWS),
        "sex": _named([SEXES.get((sex or "").upper(), NOT_STATED) for sex in facts.sex], tuple(SEXES.values())),
        "age": _named([age_band(age) for age in facts.age], tuple(_band(place) for place in range(len(BANDS)))),
        "source": _named([row.source for row in rows]),
    }
    return {name: groups for name, groups in groupings.items() if len(groups) > 1}


def lesion_sizes(rows: Sequence[CaseScore] | Sequence[VolumeScore]) -> Groups:
    """Positives by quartiles of their true area in pixels or volume in ml; none with fewer than four positives.

    Sizes that are equal stay together, so quartiles can differ in number and one can be missing.
    """
    volumes = bool(rows) and isinstance(rows[0], VolumeScore)
    sizes = np.array([row.truth_ml if isinstance(row, VolumeScore) else row.truth_px for row in rows], float)
    positive = sizes > 0
    if np.count_nonzero(positive) < 4:
        return {}
    edges = np.quantile(sizes[positive], [0, 0.25, 0.5, 0.75, 1])
    place = np.clip(np.searchsorted(edges, sizes), 1, 4)
    words = [f"{edge:,.1f} ml" if volumes else f"{edge:,.0f} px" for edge in edges]
    groups = {f"quartile {n}: to {words[n]}": positive & (place == n) for n in (1, 2, 3, 4)}
    return {name: members for name, members in groups.items() if members.any()}


def age_band(age: str | None) -> str:
    """Band of a DICOM age string (PS3.5 6.2: `034Y`, `007M`), or of plain years."""
    found = re.fullmatch(r"\s*(\d{1,3})\s*([DWMY]?)\s*", (age or "").upper())
    if not found:
        return NOT_STATED
    years = int(found[1]) / {"D": 365.25, "W": 52.18, "M": 12}.get(found[2], 1)
    if years > OLDEST:
        return NOT_STATED
    return _band(int(np.searchsorted(BANDS, years, side="right")) - 1)


def _band(place: int) -> str:
    return f"{BANDS[place]} to {BANDS[place + 1] - 1}" if place + 1 < len(BANDS) else f"{BANDS[place]} and over"


def _view(view: str | None) -> str:
    """AP and PA as they are; others by their name."""
    return (view or "").strip().upper() or NOT_STATED


def _named(labels: Sequence[str], first: Sequence[str] = ()) -> Groups:
    """Groups of equal labels: those of `first` in its order, then others by name, those not stated last; none where none is stated."""
    names = sorted(set(labels), key=lambda name: (name == NOT_STATED, first.index(name) if name in first else len(first), name))
    return {} if names == [NOT_STATED] else {name: np.array([label == name for label in labels]) for name in names}
