"""Reading a case: image and mask of one size, and the image its name says."""

import pickle

import numpy as np
import pytest
from PIL import Image

from chestseg.data.cases import CaseSource
from chestseg.dicom.write import write_radiograph

PIXELS = np.arange(80, dtype=np.uint8).reshape(8, 10)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "1.2.3.dcm"
    write_radiograph(path, PIXELS, patient_id="p", study_uid="1.2.4", series_uid="1.2.5", sop_uid="1.2.3")
    return str(path)


def test_a_case_source_is_small_and_travels(image):
    source = CaseSource("1.2.3", "s", image, rle=("0 3",), rle_shape=(8, 10), sop_uid="1.2.3")
    assert pickle.loads(pickle.dumps(source)) == source
    assert len(pickle.dumps(source)) < 600


def test_labels_come_as_code_file_or_a_publishers_word(image):
    assert not CaseSource("1.2.3", "s", image).labelled
    for labelled in ({"rle": ("-1",)}, {"mask_path": "m.png"}, {"negative": True}):
        assert CaseSource("1.2.3", "s", image, **labelled).labelled


def test_the_mask_has_the_images_size(image):
    case = CaseSource("1.2.3", "s", image, rle=("0 3",), rle_shape=(8, 10)).read()
    assert np.array_equal(case.pixels, PIXELS)
    assert case.mask[:, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert CaseSource("1.2.3", "s", image, negative=True).read().mask.shape == (8, 10)


def test_a_code_for_another_size_is_refused(image):
    with pytest.raises(ValueError, match="the image is 8x10 and the run-length code of 1.2.3 is 1024x1024: use the image for which"):
        CaseSource("1.2.3", "s", image, rle=("0 3",)).read()


def test_a_mask_file_of_another_size_is_refused(image, tmp_path):
    Image.fromarray(np.zeros((10, 8), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"the image is 8x10 and .*m\.png is 10x8"):
        CaseSource("1.2.3", "s", image, mask_path=str(tmp_path / "m.png")).read()


def test_a_file_that_holds_another_image_than_its_name_says_is_refused(image):
    source = CaseSource("1.2.9", "s", image, negative=True, sop_uid="1.2.9")
    with pytest.raises(ValueError, match=r"1\.2\.3\.dcm: its SOPInstanceUID is 1\.2\.3, not its file name"):
        source.read()


def test_an_unreadable_image_is_named(tmp_path):
    (tmp_path / "cut.dcm").touch()
    with pytest.raises(ValueError, match=r"cut\.dcm: the file is empty"):
        CaseSource("cut", "s", str(tmp_path / "cut.dcm"), negative=True).read()
