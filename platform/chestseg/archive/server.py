"""What is asked of a DICOMweb server (PS3.18): which studies it has (QIDO-RS), their images (WADO-RS), to keep results (STOW-RS)."""

import contextlib
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomweb_client import DICOMwebClient
from requests import HTTPError, RequestException, Response, Timeout
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import SSLError

from chestseg.archive.connect import PASSWORD, SECONDS, TOKEN, USER
from chestseg.dicom.dataset import parse_dicom
from chestseg.dicom.source import DAMAGE, naming

STUDY, SERIES, SOP, MODALITY, STUDY_DATE = "0020000D", "0020000E", "00080018", "00080060", "00080020"
STUDY_SERIES, STUDY_INSTANCES = "00201206", "00201208"
REFERENCED_SERIES, REFERENCED_INSTANCES, REFERENCED_SOP = "00081115", "0008114A", "00081155"
FAILED, FAILURE_REASON = "00081198", "00081197"
PAGE = 200
ANY_SYNTAX = (("application/dicom", "*"),)
"""As the images are stored: nothing is decoded and encoded again on the way, and no image grows."""
DENIED = (401, 403)


class Trouble(ValueError):
    """The server's doing and no study's: it may go better later."""


class Unreachable(Trouble):
    """It answers nobody, or not us: there is no use in asking on."""


@dataclass(frozen=True)
class Study:
    """A study that a server has."""

    uid: str
    counts: tuple[Any, Any] | None
    """Its series and images; they change when it does. None where the server does not tell."""


@dataclass(frozen=True)
class SeriesListed:
    """A series of it."""

    uid: str
    modality: str


class Server:
    """A DICOMweb server. All methods raise `Trouble` when it fails, in one line."""

    def __init__(self, client: DICOMwebClient) -> None:
        self.client, self.url = client, client.base_url

    def studies(self, modality: str, dates: str | None) -> Iterator[Study]:
        """Studies with series of a modality, of a day or a range of days as DICOM writes it (PS3.4 C.2.2.2.5), in the server's order."""
        filters = {"ModalitiesInStudy": modality} | ({"StudyDate": dates} if dates else {})
        fields = ["NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"]
        for found in self._pages(STUDY, self.client.search_for_studies, search_filters=filters, fields=fields):
            # Not every server filters by what it does not index.
            if dates is None or not _first(found, STUDY_DATE) or _within(str(_first(found, STUDY_DATE)), dates):
                counts = _first(found, STUDY_SERIES), _first(found, STUDY_INSTANCES)
                yield Study(_first(found, STUDY), None if None in counts else counts)

    def series(self, study: str) -> list[SeriesListed]:
        """All series of a study."""
        listed = self._pages(SERIES, self.client.search_for_series, study)
        return [SeriesListed(_first(found, SERIES), _first(found, MODALITY) or "") for found in listed]

    def images(self, study: str, series: str) -> list[str]:
        """SOPInstanceUIDs of a series, sorted."""
        return sorted(_first(found, SOP) for found in self._pages(SOP, self.client.search_for_instances, study, series))

    def attributes(self, study: str, series: str, image: str) -> dict[str, Any]:
        """An image's attributes, in DICOM's JSON model (PS3.18 annex F)."""
        with self._asking():
            return self.client.retrieve_instance_metadata(study, series, image)

    def referred_to(self, study: str, series: str) -> set[str]:
        """The images that the objects of a series refer to by their ReferencedSeriesSequence."""
        with self._asking():
            objects = self.client.retrieve_series_metadata(study, series)
            inside = (item for found in objects for item in _all(found, REFERENCED_SERIES))
            return {_first(item, REFERENCED_SOP) for one in inside for item in _all(one, REFERENCED_INSTANCES)}

    def fetch(self, study: str, series: str, images: Sequence[str], folder: Path) -> list[Path]:
        """Write the images of a series that are named to a folder, in their order.

        Raises:
            ValueError: an image is so damaged that it can't be written again.
            OSError: the folder can't be written.
        """
        places = {image: folder / f"{number:05}.dcm" for number, image in enumerate(images)}
        with self._asking():
            answer = self.client.iter_series(study, series, media_types=ANY_SYNTAX)
        missing = set(places)
        while True:
            with self._asking():
                dataset = next(iter(answer), None)
                uid = dataset and str(dataset.get("SOPInstanceUID"))
            if dataset is None:
                break
            if uid in missing:
                places[uid].write_bytes(_encoded(dataset, uid))
                missing.discard(uid)
        if missing:
            raise Trouble(f"{self.url}: gave {len(places) - len(missing)} of the {len(places)} images that it lists of series {series}")
        return list(places.values())

    def store(self, study: str, files: Sequence[bytes]) -> None:
        """Store objects, and see to it that each of them was stored."""
        datasets = [parse_dicom(file) for file in files]
        with self._asking():
            answer = self.client.store_instances(datasets, study)
            stored = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or ()}
            failed = [int(item.get("FailureReason") or 0) for item in answer.get("FailedSOPSequence") or ()]
        if failed:
            raise Trouble(f"{self.url}: stored {len(stored)} of {len(files)} objects, failure {failed[0]:#06x} (PS3.18 table I.2-2)")
        # A server may answer with nothing at all, be it stored or not: then it is asked what it has.
        left = [dataset for dataset in datasets if str(dataset.SOPInstanceUID) not in stored]
        held = {image for series in {str(d.SeriesInstanceUID) for d in left} for image in self.images(study, series)}
        lost = [dataset for dataset in left if str(dataset.SOPInstanceUID) not in held]
        if lost:
            raise Trouble(f"{self.url}: said that nothing failed, and stored {len(files) - len(lost)} of {len(files)} objects")

    def _pages(self, key: str, search: Any, *within: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """All results, page by page; a server that knows no pages answers the same again, which ends it."""
        seen: set[str] = set()
        while True:
            with self._asking():
                page = search(*within, limit=PAGE, offset=len(seen), **asked)
                new = [found for found in page if _first(found, key) not in seen]
            yield from new
            seen |= {_first(found, key) for found in new}
            if not new:
                return

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn whatever a server and the line to it do into a `Trouble` of one line."""
        try:
            # Between threads the filter may outlive the block; it hides nothing but warnings of odd values, and of answers of one part.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module=r"(pydicom|dicomweb_client)\.")
                yield
        except HTTPError as error:
            raise self._refusal(error.response) from None
        except SSLError as error:
            raise Unreachable(
                f"{self.url}: its certificate is not trusted ({_short(error)}): name its authority's file in REQUESTS_CA_BUNDLE"
            ) from None
        except Timeout:
            raise Unreachable(f"{self.url}: no answer within {SECONDS[1]} s: check that it runs") from None
        except NoConnection as error:
            raise Unreachable(f"{self.url}: can't be reached ({_short(error)}): check the address and that it runs") from None
        except RequestException as error:
            raise Trouble(f"{self.url}: an answer that broke off or is not DICOMweb's ({_short(error)})") from None
        except DAMAGE as error:
            raise Trouble(f"{self.url}: an answer that is not DICOMweb's ({_short(error)}): check the address") from None

    def _refusal(self, response: Response | None) -> Trouble:
        assert response is not None, "raise_for_status gives it"
        code = response.status_code
        if code in DENIED:
            return Unreachable(f"{self.url}: refuses to answer ({code}): set {TOKEN}, or {USER} and {PASSWORD}, or use ~/.netrc")
        if code == 404:
            return Trouble(f"{self.url}: has no such thing (404): check the address, which ends where /studies begins")
        return Trouble(f"{self.url}: answers {code} {response.reason or ''}{_failure(response.text)}")


def _encoded(dataset: Any, image: str) -> bytes:
    """A data set as the file it came from."""
    file = io.BytesIO()
    with naming(f"image {image}"):
        dataset.save_as(file)
    return file.getvalue()


def _failure(body: str) -> str:
    """The reason that STOW's answer gives (PS3.18 10.5.3), if it does."""
    try:
        found = json.loads(body)
        reasons = [_first(item, FAILURE_REASON) for item in _all(found, FAILED)]
    except DAMAGE:
        return ""
    return f", failure {reasons[0]:#06x}" if reasons and isinstance(reasons[0], int) else ""


def _all(found: dict[str, Any], tag: str) -> list[Any]:
    return found.get(tag, {}).get("Value") or []


def _first(found: dict[str, Any], tag: str) -> Any:
    values = _all(found, tag)
    return values[0] if values else None


def _within(date: str, dates: str) -> bool:
    first, _, last = dates.partition("-") if "-" in dates else (dates, "", dates)
    return (first or date) <= date <= (last or date)


def _short(error: Exception) -> str:
    """What lies at the bottom of an error: libraries wrap a refused connection four times."""
    text = " ".join(str(error).split())
    return text.rpartition("Caused by ")[2].rpartition(": ")[2].strip("()'\" ")[:160] or type(error).__name__
