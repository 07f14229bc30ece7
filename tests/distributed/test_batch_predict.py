"""On a cluster the files of `chestseg predict` come out, bit for bit; after a kill nothing is done again; a broken file is a row."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from chestseg.arrays.grid import Grid
from chestseg.arrays.volume import Volume
from chestseg.bundle import save_bundle
from chestseg.cli import main
from chestseg.dicom.write import write_radiograph
from chestseg.dicom.write_series import write_series
from chestseg.nifti import write_nifti
from tests.inference import tiny_volume
from tests.inference.tiny import tiny_network, tiny_spec

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # of its own defaults, when it is made
]
COMMAND = "from chestseg.cli import main; import sys; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_bundle(tmp_path_factory.mktemp("model") / "bundle", tiny_spec(), tiny_network().state_dict()).folder)


@pytest.fixture(scope="module")
def ct_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model") / "bundle"
    return str(save_bundle(folder, tiny_volume.tiny_spec(), tiny_volume.tiny_network().state_dict()).folder)


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number:03}.png"), random.integers(0, 256, (60 + number, 90), dtype=np.uint8))
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """What `chestseg predict` writes, of a folder of results."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in ("masks", "cases", "overlays")
        for path in (folder / part).glob("*")
    }


def batch(*arguments: str | Path) -> int:
    return main(["batch-predict", *map(str, arguments), "--device", "cpu"])


def left_over() -> set[Path]:
    """Copies of bundles that processes made for themselves; this machine's nodes share the folder."""
    return set(Path(tempfile.gettempdir()).glob("chestseg-bundle-*"))


@pytest.mark.usefixtures("cluster")
def test_radiographs(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = pictures(tmp_path / "images", 9)
    write_radiograph(
        images / "film.dcm", np.full((80, 80), 90, np.uint8), patient_id="p", study_uid="2.25.1", series_uid="2.25.2", sop_uid="2.25.3",
        spacing_mm=(4.0, 4.0),
    )  # fmt: skip
    (images / "cut.png").write_bytes((images / "000.png").read_bytes()[:100])
    before = left_over()
    given = (images, tmp_path / "absent.dcm", "--model", model, "--format", "png,json,overlay,rle", "--output")
    assert batch(*given, tmp_path / "out") == 1
    shown = capfd.readouterr()
    assert "10 of 12 cases" in shown.out and "12/12" in shown.err and "cut.png" in shown.err and "absent.dcm" in shown.err
    assert main(["predict", *map(str, given), str(tmp_path / "plain"), "--device", "cpu"]) == 1
    assert files(tmp_path / "out") == files(tmp_path / "plain") and len(files(tmp_path / "out")) == 30
    assert left_over() == before
    assert (tmp_path / "out" / "rle.csv").read_bytes() == (tmp_path / "plain" / "rle.csv").read_bytes()
    table = pq.read_table(tmp_path / "out" / "table.parquet").to_pylist()
    assert [row["case"] for row in pa.csv.read_csv(tmp_path / "out" / "table.csv").to_pylist()] == [row["case"] for row in table]
    for row in table:
        if row["case"] in ("cut", "absent"):
            assert row["source"] in row["reason"] and row["present"] is None
        else:
            record = json.loads((tmp_path / "out" / "cases" / f"{row['case']}.json").read_text())
            assert {key: row[key] for key in ("source", "probability", "present", "area_px", "area_cm2")}.items() <= record.items()
            assert (row["model"], row["version"]) == (record["model"]["name"], record["model"]["digest"]) and row["seconds"] > 0


@pytest.mark.usefixtures("cluster")
def test_volumes(ct_model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hu, _, _ = tiny_volume.chest()
    scan = Volume(hu, Grid.upright(hu.shape, tiny_volume.SPACING))
    write_series(tmp_path / "scans" / "one", scan, patient_id="p", study_uid="2.25.1", series_uid="2.25.2")
    write_series(tmp_path / "scans" / "two", Volume(hu[:, ::-1], scan.grid), patient_id="q", study_uid="2.25.3", series_uid="2.25.4")
    write_nifti(tmp_path / "scans" / "three.nii.gz", scan)
    shutil.make_archive(str(tmp_path / "scans" / "four"), "zip", tmp_path / "scans" / "one")
    (tmp_path / "scans" / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    given = (tmp_path / "scans", "--model", ct_model, "--format", "nifti,json,overlay", "--output")
    assert batch(*given, tmp_path / "out") == 1
    assert "4 of 5 cases" in capfd.readouterr().out
    assert main(["predict", *map(str, given), str(tmp_path / "plain"), "--device", "cpu"]) == 1
    assert files(tmp_path / "out") == files(tmp_path / "plain") and len(files(tmp_path / "out")) == 12
    rows = {row["case"]: row for row in pq.read_table(tmp_path / "out" / "table.parquet").to_pylist()}
    assert {row["series_uid"] for row in rows.values()} == {"2.25.2", "2.25.4", None}
    assert all(row["volume_ml"] >= 0 for row in rows.values() if not row["reason"]) and "broken.nii.gz" in rows["broken"]["reason"]


def test_goes_on_after_a_kill(model: str, tmp_path: Path, cluster, capfd: pytest.CaptureFixture[str]) -> None:
    images, out = pictures(tmp_path / "images", 24), tmp_path / "out"
    arguments = ["batch-predict", str(images), "--model", model, "--output", str(out), "--device", "cpu"]
    with (tmp_path / "log").open("w") as log:
        killed = subprocess.Popen([sys.executable, "-c", COMMAND, *arguments, "--workers", "1"], env=cluster.env, stdout=log, stderr=log)
        while killed.poll() is None and len(list((out / ".done").glob("*.json"))) < 3:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert killed.returncode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert not (out / "table.parquet").exists()
    wait_until_quiet(out)
    finished = {path: path.stat().st_mtime_ns for path in (out / ".done").glob("*.json")}
    assert 3 <= len(finished) < 24
    torn, *whole = sorted(finished)
    mask = out / "masks" / f"{torn.stem}.png"
    mask.write_bytes(mask.read_bytes()[:-10])
    assert main(arguments) == 0
    assert f"24 items, {len(whole)} finished" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in whole} == {path: finished[path] for path in whole}
    assert main(["predict", str(images), "--model", model, "--output", str(tmp_path / "plain"), "--device", "cpu"]) == 0
    assert files(out) == files(tmp_path / "plain")
    assert len(pq.read_table(out / "table.parquet")) == 24 and not list((out / ".done").glob("*.begun"))
    assert main(arguments) == 0
    assert "24 items, 24 finished: 0 to segment" in capfd.readouterr().err


def wait_until_quiet(out: Path) -> None:
    """Until the killed driver's processes, which Ray ends, write no more."""
    before = -1
    while (now := len(list((out / ".done").iterdir()))) != before:
        before = now
        time.sleep(0.5)


@pytest.mark.usefixtures("cluster")
def test_an_output_that_is_full_of_something_else_is_one_line(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images, out = pictures(tmp_path / "images", 2), tmp_path / "out"
    out.mkdir()
    (out / "masks").write_text("a file in the way")
    assert batch(images, "--model", model, "--output", out) == 2
    [line] = [line for line in capfd.readouterr().err.splitlines() if line.startswith("chestseg: error")]
    assert "masks" in line and "finished items are kept" in line


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_died_twice_on_an_item_gives_it_up(model: str, tmp_path: Path) -> None:
    images, out = pictures(tmp_path / "images", 1), tmp_path / "out"
    from chestseg.bundle import load_bundle
    from chestseg.inference.batch_items import list_radiographs
    from chestseg.inference.batch_worker import BatchSettings, BatchWorker

    [item] = list_radiographs([str(images)])
    worker = BatchWorker(load_bundle(model), BatchSettings(str(out), ("png",), device="cpu"))
    worker.markers.begun(item)
    worker.markers.begun(item)
    [row] = worker.do(item)
    assert "000.png: ended the process that read it 2 times" in row["reason"]
    [row] = worker.do(item)
    assert row["reason"] == "" and os.listdir(out / ".done") == ["000.json"]
