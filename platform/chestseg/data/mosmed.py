"""MosMedData COVID19_1110: studies as NIfTI in folders CT-0 to CT-4 by severity, 50 of them with a mask.

As published: `studies/CT-0/study_0001.nii.gz` and so on, HU, a study a patient; `masks/study_0255_mask.nii.gz` to `study_0304_mask.nii.gz`
with ground glass and consolidation as 1. CT-0 is normal lungs, CT-4 more than three quarters involved (Morozov et al. 2020).
"""

import re
from pathlib import Path

from chestseg.config import Source
from chestseg.data.cases import LeftOut, Listing
from chestseg.data.nifti_files import label_values, niftis_by_stem
from chestseg.data.pairs import UNLABELLED, unpaired
from chestseg.data.tree import source_name
from chestseg.data.volume_cases import LabelFile, VolumeSource

MASK = "_mask"
NORMAL = "CT-0"
SEVERITY = re.compile(r"CT-[0-4]", re.IGNORECASE)
LABELS = {"infiltrate": (1,)}
NO_SEVERITY = "not in a folder CT-0 to CT-4"


def list_mosmed(source: Source) -> Listing:
    """Cases of a folder with MosMed's tree anywhere below it; each study is a patient.

    A study without a mask is left out: most have infiltrates that nobody outlined. Those of CT-0 become negatives where the source says
    `without_mask: negative`; those of CT-1 to CT-4 never do.

    Raises:
        ValueError: one line that names the folder: missing, no NIfTI, two files of one name, no folder CT-0 to CT-4, nothing labelled.
    """
    root, name = Path(source.path), source_name(source)
    infiltrate = label_values(source, LABELS, LABELS["infiltrate"])
    files, _ = niftis_by_stem(root)
    masks = {stem.removesuffix(MASK): path for stem, path in files.items() if stem.endswith(MASK)}
    cases, left_out = [], []
    for case_id, path in files.items():
        severity = Path(path).parent.name.upper()
        if case_id.endswith(MASK):
            continue
        if not SEVERITY.fullmatch(severity):
            left_out.append(LeftOut(case_id, path, NO_SEVERITY, name))
        elif case_id in masks:
            mask = LabelFile(masks[case_id], infiltrate, (0, 1))
            cases.append(VolumeSource(case_id, name, path, patient_id=case_id, mask=mask, window=source.window))
        elif severity == NORMAL and source.without_mask == "negative":
            cases.append(VolumeSource(case_id, name, path, patient_id=case_id, negative=True, window=source.window))
        else:
            left_out.append(LeftOut(case_id, path, UNLABELLED, name))
    if not cases:
        raise ValueError(
            f"{root}: none of {len(files)} files is a study in CT-0 to CT-4 with a mask: unpack MosMed's studies and masks there"
        )
    left_out += unpaired(files, masks, name, unlabelled=False)
    return Listing(cases, left_out)
