"""An experiment whose labels or folds are not those that were prepared is refused, wherever its files now lie."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from chestseg.config import RadiographData, Source
from chestseg.data.prepared import PreparedDataset
from tests.data.pictures import SIZES, prepare_plainly, write_pictures

CSVS = {"folds_file": "fold", "patients_file": "patient_id"}


@pytest.fixture
def prepared(tmp_path: Path) -> RadiographData:
    for key, column in CSVS.items():
        (tmp_path / f"{key}.csv").write_text(f"case_id,{column}\n" + "".join(f"case-00{i},{i % 3}\n" for i in range(9)))
    files: dict[str, Any] = {key: str(tmp_path / f"{key}.csv") for key in CSVS}
    sources = (write_pictures(tmp_path / "source", 9),)
    data = RadiographData(sources=sources, prepared=str(tmp_path / "out"), sizes=SIZES, folds=3, **files)
    prepare_plainly(data)
    return data


def refused(data: RadiographData, told: str) -> bool:
    """Whether it is refused, in one line that says this and the remedy."""
    with pytest.raises(ValueError) as refusal:
        PreparedDataset.open(data.prepared).require_split(data)
    said = f"out was prepared with {told}: prepare it with `python jobs/prepare"
    return bool(re.search(said, str(refusal.value))) and "\n" not in str(refusal.value)


def changed(data: RadiographData, **change: Any) -> RadiographData:
    (source,) = data.sources
    return data.model_copy(update={"sources": (source.model_copy(update=change),)})


@pytest.mark.parametrize("key", CSVS)
def test_another_file_is_refused_and_a_file_that_is_elsewhere_is_not(prepared: RadiographData, key: str) -> None:
    path = Path(getattr(prepared, key))
    moved = path.rename(path.with_name("moved.csv"))
    PreparedDataset.open(prepared.prepared).require_split(prepared)
    PreparedDataset.open(prepared.prepared).require_split(prepared.model_copy(update={key: str(moved)}))
    assert refused(prepared.model_copy(update={key: None}), f"a data.{key}, now there is none")
    path.write_text(moved.read_text().replace("case-000,0", "case-000,1"))
    assert refused(prepared, f"another data.{key} than .*{key}.csv is now")


def test_a_file_where_there_was_none_is_refused(prepared: RadiographData) -> None:
    without = prepared.model_copy(update={"patients_file": None})
    prepare_plainly(without)
    PreparedDataset.open(without.prepared).require_split(without)
    assert refused(prepared, "no data.patients_file, now there is .*patients_file.csv")


def test_other_settings_of_a_source_are_refused_and_its_place_is_not_one(prepared: RadiographData) -> None:
    assert refused(changed(prepared, without_mask="negative"), "data.sources.0.without_mask unlabelled, now it is negative")
    assert refused(changed(prepared, labels=(1, "lesion")), r"data.sources.0.labels None, now it is \[1, 'lesion'\]")
    assert refused(changed(prepared, masks="drawn-later"), "data.sources.0.masks masks, now it is drawn-later")
    PreparedDataset.open(prepared.prepared).require_split(changed(prepared, path="/elsewhere/it", name="it"))


def test_the_number_of_sources_counts_and_their_order_does_not(prepared: RadiographData, tmp_path: Path) -> None:
    plain, negative = prepared.sources[0], write_pictures(tmp_path / "more", 3, "more").model_copy(update={"without_mask": "negative"})
    both = prepared.model_copy(update={"sources": (plain, negative), "folds_file": None})
    prepare_plainly(both)
    dataset = PreparedDataset.open(both.prepared)
    dataset.require_split(both.model_copy(update={"sources": (negative, plain)}))
    assert refused(both.model_copy(update={"sources": (plain,)}), "2 data.sources, now they are 1")
    later = Source(reader="image_folder", path="later")
    assert refused(both.model_copy(update={"sources": (later, plain)}), "data.sources.1.without_mask negative, now it is unlabelled")


def test_what_an_earlier_version_prepared_is_accepted(prepared: RadiographData) -> None:
    assert refused(changed(prepared, annotators="majority"), "data.sources.0.annotators .*majority")
    marker = Path(prepared.prepared, "prepared.json")
    facts = json.loads(marker.read_text())
    del facts["basis"]["sources"][0]["annotators"]
    marker.write_text(json.dumps(facts))
    PreparedDataset.open(prepared.prepared).require_split(changed(prepared, annotators="majority"))
    del facts["basis"]
    marker.write_text(json.dumps(facts))
    PreparedDataset.open(prepared.prepared).require_split(changed(prepared, without_mask="negative"))


def test_the_basis_changes_neither_hash_nor_arrays(prepared: RadiographData, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in Path(prepared.prepared, "shards").rglob("*.npy")}
    first = PreparedDataset.open(prepared.prepared).hash
    for key in CSVS:
        path = Path(getattr(prepared, key))
        shutil.copy(path, tmp_path / "copy.csv")
        path.write_text(path.read_text() + "\n")
    prepare_plainly(prepared)
    assert PreparedDataset.open(prepared.prepared).hash == first
    assert {path: path.read_bytes() for path in before} == before
