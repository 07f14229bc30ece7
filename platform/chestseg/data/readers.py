"""The data set readers by the name a source gives, and several sources as one."""

from collections.abc import Callable, Sequence

from chestseg.config import Source
from chestseg.data.cases import CaseSource, Listing
from chestseg.data.covid_ct_seg import list_covid_ct_seg
from chestseg.data.image_folder import list_image_folder
from chestseg.data.mosmed import list_mosmed
from chestseg.data.nifti_folder import list_nifti_folder
from chestseg.data.nnunet import list_nnunet
from chestseg.data.ricord import list_ricord
from chestseg.data.siim import list_siim
from chestseg.data.volume_cases import VolumeSource

READERS: dict[str, Callable[[Source], Listing]] = {
    "siim": list_siim,
    "image_folder": list_image_folder,
    "ricord": list_ricord,
    "covid_ct_seg": list_covid_ct_seg,
    "mosmed": list_mosmed,
    "nnunet": list_nnunet,
    "nifti_folder": list_nifti_folder,
}


def list_cases(sources: Sequence[Source]) -> Listing:
    """The cases of all sources in the order of their ids, and what was left out, source after source. Nothing is decoded.

    Raises:
        ValueError: as the readers do, or two sources have a case of the same id.
    """
    listings = [READERS[source.reader](source) for source in sources]
    cases: dict[str, CaseSource | VolumeSource] = {}
    for case in (case for listing in listings for case in listing.cases):
        other = cases.setdefault(case.case_id, case)
        if other is not case:
            raise ValueError(f"{other.image} and {case.image} are both case {case.case_id!r}: leave one of them out")
    return Listing([cases[case_id] for case_id in sorted(cases)], [one for listing in listings for one in listing.left_out])
