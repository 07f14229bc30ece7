"""What a task of `prepare` says when it can't write; called as the task is, without a cluster."""

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from chestseg.config import RadiographData
from chestseg.data.preparation import plan
from chestseg.data.prepared import shard_folder
from chestseg.distributed.prepare import _write
from tests.data.pictures import SIZES, write_pictures


@pytest.mark.parametrize("bare", [(errno.ENOSPC, os.strerror(errno.ENOSPC)), ("4096 requested and 512 written",)])
def test_a_full_disk_names_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: tuple[object, ...]) -> None:
    out = tmp_path / "out"
    data = RadiographData(sources=(write_pictures(tmp_path / "source", 9),), prepared=str(out), sizes=SIZES, folds=3)
    (shard,) = plan(data).pending

    def full(*_: object) -> None:
        raise OSError(*bare)

    monkeypatch.setattr(np.lib.format, "write_array_header_1_0", full)
    said = _write({"shard": pickle.dumps(shard)}, str(out), (), 0)
    assert said["cases"] == 0 and said["error"].startswith(f"{shard_folder(out, 0)}: No space left on device"), said
    assert not list((out / "shards").iterdir())
