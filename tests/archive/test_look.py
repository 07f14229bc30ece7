"""A real archive: every study is segmented once, the result refers to its source, and what goes wrong stops nothing else."""

import http.client
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from chestseg.archive.connect import connect
from chestseg.archive.journal import Journal
from chestseg.archive.look import Tally, Watcher
from chestseg.archive.segmenting import Segmenter
from chestseg.archive.server import Server, Unreachable
from chestseg.bundle import Bundle
from chestseg.dicom.radiograph import read_radiograph
from chestseg.dicom.series import read_series
from chestseg.inference.predictor import Predictor
from chestseg.inference.volume_predictor import VolumePredictor
from tests.archive.conftest import film, scan
from tests.dicom.series_phantom import edit
from tests.dicom.test_segmentation import assert_read_by_highdicom, complaints
from tests.orthanc import Orthanc
from tests.servers import free_port


class Looker:
    """A watcher with all it says."""

    def __init__(self, url: str, bundle: Bundle, folder: Path, **options) -> None:
        self.lines: list[str] = []
        settle = options.pop("settle", False)
        segmenter = Segmenter(bundle, device="cpu", **options)
        self.watcher = Watcher(Server(connect(url)), segmenter, Journal(folder / "journal", url), self.lines.append, settle=settle)

    def __call__(self, **options) -> Tally:
        self.lines.clear()
        return self.watcher.look(**options)


def add(archive: Orthanc, *paths: Path) -> None:
    for path in paths:
        archive.add(path.read_bytes())


def segmentations(archive: Orthanc) -> list[highdicom.seg.Segmentation]:
    return [highdicom.seg.segread(io.BytesIO(file)) for file in archive.files("SEG")]


@pytest.mark.parametrize("jpeg", [False, True])
def test_a_radiograph_without_a_frame_of_reference(archive: Orthanc, model: Bundle, tmp_path: Path, jpeg: bool) -> None:
    path = film(tmp_path, jpeg=jpeg)
    add(archive, path)
    assert dcmread(path).file_meta.TransferSyntaxUID == (JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian)
    assert Looker(archive.url, model, tmp_path)() == Tally(stored=1)
    [made] = segmentations(archive)
    assert "FrameOfReferenceUID" not in made or not made.FrameOfReferenceUID
    assert (made.StudyInstanceUID, made.PatientID, made.Modality) == ("2.25.1", "p1", "SEG")
    [series] = made.ReferencedSeriesSequence
    [image] = series.ReferencedInstanceSequence
    assert (series.SeriesInstanceUID, image.ReferencedSOPInstanceUID) == ("2.25.1.1", "2.25.1.1.1")
    [meant] = Predictor(model, device="cpu").predict([read_radiograph(path).pixels])
    assert meant.present and not meant.mask.all() and np.array_equal(made.pixel_array, meant.mask)
    assert not complaints(archive.files("SEG")[0], tmp_path)


def test_a_ct_series_in_an_unusual_orientation(archive: Orthanc, ct_model: Bundle, tmp_path: Path) -> None:
    paths = scan(tmp_path / "scan")
    add(archive, *paths[::-1])
    assert Looker(archive.url, ct_model, tmp_path)() == Tally(stored=1)
    [made] = segmentations(archive)
    series = read_series(paths)
    meant = VolumePredictor(ct_model, device="cpu").predict(series.volume).mask
    assert meant.any() and not meant.all()
    assert_read_by_highdicom(archive.files("SEG")[0], meant, series.volume.grid)
    assert made.FrameOfReferenceUID == series.frame_of_reference
    referenced = {image.ReferencedSOPInstanceUID for image in made.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced == set(series.sop_uids) and made.ReferencedSeriesSequence[0].SeriesInstanceUID == "2.25.9.1"


def test_nothing_found_is_stored_and_says_so(archive: Orthanc, blind_model: Bundle, tmp_path: Path) -> None:
    add(archive, film(tmp_path))
    assert Looker(archive.url, blind_model, tmp_path)() == Tally(stored=1)
    [made] = segmentations(archive)
    assert made.NumberOfFrames == 1 and not made.pixel_array.any() and made.ContentDescription.startswith("No pneumothorax found")


def test_nothing_is_done_twice(archive: Orthanc, model: Bundle, blind_model: Bundle, tmp_path: Path) -> None:
    add(archive, film(tmp_path, 1), film(tmp_path, 2), film(tmp_path, 3, study=2))
    look = Looker(archive.url, model, tmp_path)
    assert look() == Tally(stored=3) and len(look.lines) == 3
    first = {made.SOPInstanceUID for made in segmentations(archive)}
    for again in (look, Looker(archive.url, model, tmp_path), Looker(archive.url, model, tmp_path / "lost")):
        assert again() == Tally() and not again.lines
    assert {made.SOPInstanceUID for made in segmentations(archive)} == first
    add(archive, film(tmp_path, 4, study=2))
    assert look() == Tally(stored=1) and "series 2.25.2.4: 1 stored" in look.lines[0]
    assert Looker(archive.url, blind_model, tmp_path)() == Tally(stored=4)  # another model's results are others
    archive.forget("SEG")
    assert look() == Tally()  # what somebody took away stays away
    assert Looker(archive.url, model, tmp_path / "new")() == Tally(stored=4)
    assert first < {made.SOPInstanceUID for made in segmentations(archive)}


def test_an_image_that_comes_later_to_a_series(archive: Orthanc, model: Bundle, tmp_path: Path) -> None:
    later = film(tmp_path, 2)
    edit(later, SeriesInstanceUID="2.25.1.1")
    add(archive, film(tmp_path, 1))
    look = Looker(archive.url, model, tmp_path)
    assert look() == Tally(stored=1)
    add(archive, later)
    assert look() == Tally(stored=1) and len(segmentations(archive)) == 2


def test_one_that_cannot_be_done_stops_no_other(archive: Orthanc, ct_model: Bundle, model: Bundle, tmp_path: Path) -> None:
    homeless, gap = scan(tmp_path / "homeless", 7), scan(tmp_path / "gap", 8)
    for path in homeless:
        edit(path, FrameOfReferenceUID=None)
    add(archive, *homeless, *gap[:5], *gap[6:], *scan(tmp_path / "sound", 9), film(tmp_path))
    look = Looker(archive.url, ct_model, tmp_path)
    assert look() == Tally(stored=1, refused=2)
    [without] = [line for line in look.lines if "study 2.25.7 " in line]
    assert "FrameOfReferenceUID" in without and str(tmp_path) not in without and "/tmp" not in without
    assert any("study 2.25.8 " in line and "missing" in line for line in look.lines)
    assert look() == Tally() and not look.lines  # refused ones wait for other images
    assert Looker(archive.url, ct_model, tmp_path / "mend", series="repair")() == Tally(stored=1, refused=1)
    add(archive, gap[5])
    assert look() == Tally(stored=1)


def test_lateral_views_and_other_body_parts_are_passed_over(archive: Orthanc, model: Bundle, tmp_path: Path) -> None:
    knee = film(tmp_path, 3)
    edit(knee, BodyPartExamined="KNEE")
    add(archive, film(tmp_path, 1), film(tmp_path, 2, view="LL"), knee)
    look = Looker(archive.url, model, tmp_path)
    assert look() == Tally(stored=1)
    assert any("lateral view LL: passed over" in line for line in look.lines) and any("body part KNEE" in line for line in look.lines)
    assert look() == Tally() and not look.lines
    assert Looker(archive.url, model, tmp_path / "any", body_parts=("any",))() == Tally(stored=1)


def test_dates_and_limit(archive: Orthanc, model: Bundle, tmp_path: Path) -> None:
    for study, day in ((1, "20260101"), (2, "20260102"), (3, "20260103"), (4, "20260104")):
        path = film(tmp_path, study=study)
        edit(path, StudyDate=day)
        add(archive, path)
    look = Looker(archive.url, model, tmp_path)
    assert look(dates="20260102-20260103", dry_run=True) == Tally() and len(look.lines) == 2 and not archive.files("SEG")
    assert look(dates="20260102-20260103") == Tally(stored=2)
    assert look(limit=1) == Tally(stored=1)
    assert look(limit=1) == Tally(stored=1)  # those with nothing to do are not counted
    assert look(limit=1) == Tally()


def test_a_series_that_still_arrives_is_waited_for(archive: Orthanc, ct_model: Bundle, tmp_path: Path) -> None:
    paths = scan(tmp_path / "scan")
    look = Looker(archive.url, ct_model, tmp_path, settle=True)
    add(archive, *paths[:20])
    assert look() == Tally(waiting=1)
    add(archive, *paths[20:])
    assert look() == Tally(waiting=1)
    assert look() == Tally(stored=1)
    assert look() == Tally()
    [made] = segmentations(archive)
    assert len(made.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == len(paths)


def test_a_server_that_is_not_there(model: Bundle, tmp_path: Path) -> None:
    look = Looker(f"http://127.0.0.1:{free_port()}/dicom-web", model, tmp_path)
    with pytest.raises(Unreachable, match="can't be reached .*refused.*: check the address and that it runs"):
        look()


class Between(BaseHTTPRequestHandler):
    """Passes requests on to the archive, but deals with what is to be stored by `way`."""

    archive, way = "", ""

    def do_GET(self) -> None:
        status, kind, body = self._passed_on()
        self._answer(status, kind, body)

    def do_POST(self) -> None:
        body = self._body()
        if self.way == "quiet":
            self._passed_on(body)
        status = {"refuses": 409, "busy": 503}.get(self.way, 200)
        failed = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [42752]}}]}}'
        self._answer(status, "application/dicom+json", failed if self.way in ("refuses", "fails") else b"")

    def _passed_on(self, body: bytes | None = None) -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.archive).netloc)
        headers = {name: self.headers[name] for name in ("Accept", "Content-Type") if name in self.headers}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if self.way == "partial" and "multipart" in (answer.getheader("Content-Type") or ""):
            boundary = b"--" + (answer.getheader("Content-Type") or "").partition("boundary=")[2].strip('"').encode()
            *parts, _, end = content.split(boundary)
            content = boundary.join([*parts, end])
        return answer.status, answer.getheader("Content-Type") or "", content

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def between(archive: Orthanc, request: pytest.FixtureRequest) -> Iterator[str]:
    handler = type("Handler", (Between,), {"archive": archive.root, "way": request.param})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
        server.shutdown()


SAID = {
    "swallows": "said that nothing failed, and stored 0 of 2 objects",
    "fails": "stored 0 of 2 objects, failure 0xa700",
    "refuses": "answers 409 Conflict, failure 0xa700",
    "busy": "answers 503",
    "partial": "gave 1 of the 2 images that it lists",
}


@pytest.mark.parametrize(("between", "said"), SAID.items(), indirect=["between"])
def test_what_a_server_does_not_store_is_seen_and_tried_again(
    between: str, said: str, archive: Orthanc, model: Bundle, tmp_path: Path
) -> None:
    second = film(tmp_path, 2)
    edit(second, SeriesInstanceUID="2.25.1.1")
    add(archive, film(tmp_path, 1), second)
    look = Looker(between, model, tmp_path)
    assert look() == Tally(failed=1)
    [line] = look.lines
    assert said in line and "\n" not in line and not archive.files("SEG")
    assert look() == Tally(failed=1)
    assert look() == Tally(waiting=1)  # after it failed twice


@pytest.mark.parametrize("between", ["quiet"], indirect=True)
def test_what_a_server_stores_without_a_word_is_asked_for(between: str, archive: Orthanc, model: Bundle, tmp_path: Path) -> None:
    add(archive, film(tmp_path))
    assert Looker(between, model, tmp_path)() == Tally(stored=1) and len(archive.files("SEG")) == 1
