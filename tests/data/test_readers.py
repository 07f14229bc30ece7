"""Several sources as one."""

from collections import Counter
from typing import get_args

import pytest

from chestseg.config import Source
from chestseg.data.readers import READERS, list_cases
from tests.data.pictures import write_pictures


def test_every_reader_a_configuration_may_name_is_there():
    assert set(READERS) == set(get_args(Source.model_fields["reader"].annotation))


def test_sources_are_joined_in_the_order_of_case_ids(siim, tmp_path):
    folder = siim("1.2.3.1, -1\n1.2.3.7, -1\n", "12")
    pictures = write_pictures(tmp_path / "pictures", 3, prefix="0")
    listing = list_cases([Source(reader="siim", path=str(folder)), pictures])
    assert [(case.source, case.case_id) for case in listing.cases] == [
        ("pictures", "0-000"), ("pictures", "0-001"), ("pictures", "0-002"), ("archive", "1.2.3.1"),
    ]  # fmt: skip
    assert Counter(one.source for one in listing.left_out) == {"archive": 2}


def test_one_case_in_two_sources_is_refused(tmp_path):
    sources = [write_pictures(tmp_path / name, 2, prefix="same") for name in ("first", "second")]
    with pytest.raises(ValueError, match=r"first/images/same-000\.png and .*second/images/same-000\.png are both case 'same-000'"):
        list_cases(sources)


def test_the_real_sources_together(real_data):
    listing = list_cases(
        [
            Source(reader="siim", path=str(real_data / "siim")),
            Source(reader="image_folder", path=str(real_data / "pneumothorax_png")),
            Source(reader="image_folder", path=str(real_data / "covid_cxr_png"), masks=None, without_mask="negative"),
        ]
    )
    counts = Counter((case.source, case.negative) for case in listing.cases)
    assert counts == {("siim", True): 5, ("siim", False): 5, ("pneumothorax_png", False): 30, ("covid_cxr_png", True): 75}
    assert len(listing.left_out) == 5
