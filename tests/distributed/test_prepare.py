"""On a cluster the same bytes come out as in one process, after a kill too, and a broken file stops nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chestseg.config import RadiographData, VolumeData
from chestseg.data.prepared import PreparedDataset
from chestseg.distributed.prepare import prepare
from tests.data.noisy_volumes import SPACINGS, write_volumes
from tests.data.pictures import SIZES, contents, prepare_plainly, write_pictures

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),  # of its own defaults, when it is made
]

ONE_PROCESS = """
import sys
from chestseg.config import RadiographData
from chestseg.data.preparation import plan
from chestseg.data.shards import write_shard

preparation = plan(RadiographData.model_validate_json(sys.argv[1]))
for shard in preparation.pending:
    write_shard(shard, preparation.folder)
    print(shard.index, flush=True)
"""


@pytest.fixture
def data(tmp_path: Path) -> RadiographData:
    source = write_pictures(tmp_path / "source", 200)
    Path(source.path, "images", "case-100.png").write_bytes(b"\x89PNG broken")
    return RadiographData(sources=(source,), prepared=str(tmp_path / "out"), sizes=SIZES)


@pytest.mark.usefixtures("cluster")
def test_same_bytes_as_in_one_process(data: RadiographData, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    report = prepare(data)
    shown = capfd.readouterr()
    assert "200 labelled cases in 4 shards, 0 finished" in shown.err and "200/200" in shown.err and not shown.out
    assert report == prepare_plainly(data.model_copy(update={"prepared": str(tmp_path / "plain")}))
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    assert len(PreparedDataset.open(tmp_path / "out")) == 199


@pytest.mark.usefixtures("cluster")
def test_volumes_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_volumes(tmp_path / "source", 9)
    Path(source.path, "images", "case-004.nii.gz").write_bytes(b"\x1f\x8b broken")
    told = VolumeData(sources=(source,), prepared=str(tmp_path / "out"), spacings=SPACINGS, folds=3)
    report = prepare(told)
    assert "9/9" in capfd.readouterr().err
    assert report == prepare_plainly(told.model_copy(update={"prepared": str(tmp_path / "plain")}))
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")
    assert len(PreparedDataset.open(tmp_path / "out")) == 8


@pytest.mark.usefixtures("cluster")
def test_goes_on_after_a_kill(data: RadiographData, tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ONE_PROCESS, data.model_dump_json()], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None and killed.stdout.readline() == "0\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    out = tmp_path / "out"
    finished = {path: path.stat().st_mtime_ns for path in sorted(out.glob("shards/0*/*"))}
    assert finished and not (out / "prepared.json").exists()
    lines: list[str] = []
    prepare(data, report=lines.append)
    assert "0 finished" not in lines[0]
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    prepare_plainly(data.model_copy(update={"prepared": str(tmp_path / "plain")}))
    assert contents(out) == contents(tmp_path / "plain")


@pytest.mark.usefixtures("cluster")
def test_a_folder_that_cannot_be_written_is_one_line(data: RadiographData, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shards").write_text("a file in the way")
    with pytest.raises(ValueError, match=r"shards.*: make room or correct the folder and prepare again") as refusal:
        prepare(data)
    assert "\n" not in str(refusal.value)
