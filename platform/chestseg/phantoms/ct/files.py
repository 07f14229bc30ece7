"""CT phantoms as files: one as a DICOM series, or many as NIfTI images and masks in two folders."""

from collections.abc import Callable, Iterator
from pathlib import Path

from chestseg.arrays.volume import Volume
from chestseg.config.stage import Spacing, Triple
from chestseg.dicom.write_series import write_series
from chestseg.files import whole_folder
from chestseg.nifti import write_nifti
from chestseg.phantoms.ct.make import SHAPE, SPACING, CtPhantom, check_grid, make_ct_phantom
from chestseg.phantoms.ct.scene import draw_build
from chestseg.seed import seed_for

IMAGES, MASKS = "images", "masks"
POSITIVE_SHARE = 0.75
GOLDEN_RATIO = 0.6180339887498949

Progress = Callable[[int, int], None]


def write_ct_series(
    folder: str | Path, seed: int, shape: Triple = SHAPE, spacing: Spacing = SPACING, positive: bool = True, *, description: str = "axial"
) -> CtPhantom:
    """Write the phantom of a seed as an axial CT series, a file a slice; equal arguments give equal bytes.

    Its UIDs and its sex and age come from the seed (`ct_uids`), its PatientID is `phantom-<seed>`.

    Returns:
        The phantom.

    Raises:
        ValueError: a shape or spacing that is not drawn.
    """
    phantom = make_ct_phantom(seed, shape, spacing, positive)
    write_phantom_series(folder, phantom.volume, seed, "axial", description=description)
    return phantom


def write_phantom_series(folder: str | Path, volume: Volume, seed: int, name: str, *, number: int = 1, description: str = "") -> None:
    """Write a volume as the series called `name` in the study of the phantom of `seed`."""
    study, series = ct_uids(seed, name)
    chest = draw_build(seed)
    write_series(
        folder,
        volume,
        patient_id=f"phantom-{seed}",
        study_uid=study,
        series_uid=series,
        series_number=number,
        sex=chest.sex,
        age=f"{chest.age:03d}Y",
        description=description,
    )


def ct_uids(seed: int, name: str) -> tuple[str, str]:
    """Study and series UID of a phantom: `2.25.` and an integer (PS3.5 section B.2)."""
    return f"2.25.{seed_for('ct study', seed)}", f"2.25.{seed_for('ct series', seed, name)}"


def write_ct_nifti(
    folder: str | Path,
    count: int,
    seed: int,
    shape: Triple = SHAPE,
    spacing: Spacing = SPACING,
    positive_share: float = POSITIVE_SHARE,
    *,
    progress: Progress | None = None,
) -> None:
    """Write `count` phantoms as `images/phantom_0000.nii.gz` (HU) and `masks/phantom_0000.nii.gz` (0 and 1), for reader `nifti_folder`.

    A phantom without infiltrate has an empty mask. The folder appears when all of it is written; equal arguments give equal bytes.

    Args:
        folder: where to write; an older data set of this form is replaced.
        count: phantoms.
        seed: makes the phantoms.
        shape: slices, rows, columns of each.
        spacing: millimetres between them.
        positive_share: share of phantoms with infiltrates, 0 to 1.
        progress: called with the number of phantoms written and of all.

    Raises:
        ValueError: a count, share, shape or spacing out of range, or a folder that holds something else.
    """
    folder = Path(folder)
    check_data_set(folder, (IMAGES, MASKS), count, positive_share, shape, spacing)
    with whole_folder(folder) as draft:
        for i, _, phantom in ct_phantoms(count, seed, shape, spacing, positive_share, progress):
            name = f"phantom_{i:04d}.nii.gz"
            write_nifti(draft / IMAGES / name, phantom.volume)
            write_nifti(draft / MASKS / name, Volume(phantom.mask, phantom.volume.grid))


def ct_phantoms(
    count: int, seed: int, shape: Triple, spacing: Spacing, positive_share: float, progress: Progress | None
) -> Iterator[tuple[int, int, CtPhantom]]:
    """Number, seed and phantom of each of a data set; `progress` hears of one when the caller asks for the next."""
    for i in range(count):
        own = phantom_seed(seed, i)
        yield i, own, make_ct_phantom(own, shape, spacing, is_positive(seed, i, positive_share))
        if progress is not None:
            progress(i + 1, count)


def phantom_seed(seed: int, i: int) -> int:
    """Seed of phantom `i` of a data set, short enough for a PatientID."""
    return seed_for("ct", seed, i) % 10**9


def is_positive(seed: int, i: int, share: float) -> bool:
    """Whether phantom `i` of a data set has infiltrates: the share is met to within one or two in every stretch."""
    return (i * GOLDEN_RATIO + seed_for("ct positive", seed) % 1000 / 1000) % 1 < share


def check_data_set(folder: Path, own: tuple[str, ...], count: int, positive_share: float, shape: Triple, spacing: Spacing) -> None:
    """Refuse what can't be drawn, and a folder with anything but the entries `own` of such a data set, which would be replaced."""
    check_grid(shape, spacing)
    if count < 1:
        raise ValueError(f"count {count}: write at least one phantom")
    if not 0 <= positive_share <= 1:
        raise ValueError(f"positive_share {positive_share}: give a share from 0 to 1")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in own) if folder.is_dir() else []
    if foreign:
        raise ValueError(f"{folder} holds {foreign[0]!r}, which is not of a phantom data set and would be replaced: name another folder")
