"""The command line: its parser, its exit codes, and that asking for help costs nothing."""

import errno
import importlib
import inspect
import subprocess
import sys

import pytest

from chestseg.cli import main, phantoms
from chestseg.cli.parser import build_parser

HEAVY = ("torch", "ray", "mlflow", "numpy", "cv2", "albumentations", "pydicom", "pydantic")
LINES = {
    "prepare": ["CONFIG"],
    "train": ["CONFIG", "--set", "seed=1", "--set", "fold=2"],
    "tune": ["CONFIG", "--set", "trials=4", "--plan"],
    "dashboards": ["CONFIG", "--mlflow-port", "5001", "--optuna-port", "8081"],
    "evaluate": ["CONFIG", "--model", "bundle", "--split", "test", "--output", "out"],
    "predict": ["a.dcm", "b.png", "--model", "bundle", "--output", "out", "--format", "png, rle", "--window=-1,255"],
    "batch-predict": ["a.nii.gz", "--model", "bundle", "--output", "out", "--window", "0,255", "--workers", "2"],
    "promote": ["CONFIG", "--rollback"],
    "cross-validate": ["CONFIG", "--set", "choose={}"],
    "ablate": ["ABLATION", "--set", "folds=[0]"],
    "external": ["LIST"],
    "sync": ["runs/x"],
    "series": ["scan", "--json"],
    "phantoms": ["out", "--count", "3"],
    "demo": [],
    "doctor": ["CONFIG", "--json", "--timeout", "5"],
    "segment": ["a.dcm", "--url", "http://127.0.0.1:8000", "--output", "out", "--token-file", "t", "--series", "repair", "--at-once", "2"],
}

WINDOW = ["predict", "a.nii", "--model", "bundle", "--output", "out", "--window"]


@pytest.mark.parametrize("command", LINES)
def test_the_parser_gives_each_command_the_arguments_its_run_takes(command):
    arguments = vars(build_parser().parse_args([command, *LINES[command]]))
    assert arguments.pop("command") == command
    assert arguments.pop("debug") is False
    module = importlib.import_module(f"chestseg.cli.{command.replace('-', '_')}")
    inspect.signature(module.run).bind(**arguments)


def test_overrides_and_formats_are_collected_in_order():
    assert build_parser().parse_args(["train", *LINES["train"]]).overrides == ["seed=1", "fold=2"]
    assert build_parser().parse_args(["predict", *LINES["predict"]]).formats == ("png", "rle")
    assert build_parser().parse_args(["predict", *LINES["predict"]]).window == (-1, 255)


def test_help_imports_nothing_heavy():
    program = f"import sys; from chestseg.cli.parser import build_parser; build_parser(); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"\n    {command}" in shown for command in LINES)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["trian"],
        ["train"],
        ["train", "CONFIG", "--sett", "a=1"],
        ["phantoms", "out", "--count", "many"],
        [*WINDOW, "255"],
        [*WINDOW, "0,x"],
        [*WINDOW, "1,2,3"],
    ],
)
def test_what_cannot_be_parsed_leaves_with_2(argv, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(argv)
    assert leaving.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_users_mistake_is_one_line_and_2(tmp_path, capsys):
    assert main(["phantoms", str(tmp_path), "--count", "0"]) == 2
    assert capsys.readouterr().err == "chestseg: error: count 0: write at least one phantom\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv", [["--debug", "phantoms", "out", "--count", "0"], ["phantoms", "out", "--count", "0", "--debug"]])
def test_debug_shows_where_a_mistake_was_found(argv):
    with pytest.raises(ValueError, match="count 0"):
        main(argv)


def test_an_error_of_many_lines_is_still_one(monkeypatch, capsys):
    monkeypatch.setattr(phantoms, "run", raising(ValueError("first\n  second")))
    assert main(["phantoms", "out"]) == 2
    assert capsys.readouterr().err == "chestseg: error: first second\n"


@pytest.mark.parametrize(("filename", "named"), [(None, ""), ("out/a.dcm", "out/a.dcm: ")])
def test_a_full_disk_is_one_line(monkeypatch, capsys, filename, named):
    monkeypatch.setattr(phantoms, "run", raising(OSError(errno.ENOSPC, "No space left on device", filename)))
    assert main(["phantoms", "out"]) == 2
    assert capsys.readouterr().err == f"chestseg: error: {named}No space left on device: make room and start it again\n"


def test_phantoms_that_do_not_fit_name_their_folder(monkeypatch, capsys, tmp_path):
    full = raising(OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("chestseg.phantoms.radiograph.siim.write_case", full)
    assert main(["phantoms", str(tmp_path / "out"), "--count", "1", "--size", "64"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"chestseg: error: {tmp_path / 'out'}: No space left on device: ")
    assert not list(tmp_path.iterdir())


def test_a_defect_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(phantoms, "run", raising(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        main(["phantoms", "out"])


def test_ctrl_c_leaves_with_130(monkeypatch, capsys):
    monkeypatch.setattr(phantoms, "run", raising(KeyboardInterrupt()))
    assert main(["phantoms", "out"]) == 130
    assert capsys.readouterr().err == "chestseg: interrupted\n"


def raising(error: BaseException):
    def run(*positional: object, **arguments: object) -> int:
        raise error

    return run
