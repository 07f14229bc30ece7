"""The one parser: each command's arguments carry the names of the parameters of its `run`."""

import argparse
from typing import TypeAlias

from chestseg import __version__

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

DEMO = "jobs/configs/cxr_demo.yaml"
SIIM_SIZE = 1024


def build_parser() -> argparse.ArgumentParser:
    """Parser whose namespace holds `command`, `debug` and, beyond these, exactly the arguments of `chestseg.cli.<command>.run`."""
    parser = argparse.ArgumentParser(prog="chestseg", description="Chest-imaging segmentation from DICOM to a registered model, on Ray.")
    parser.add_argument("--version", action="version", version=f"chestseg {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of every error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_config_command(commands, "prepare", "decode the sources once into the prepared dataset")
    _add_config_command(commands, "train", "run the resolution schedule and register the bundle as candidate")
    _add_config_command(commands, "cross-validate", "train with each fold held out once, and register the ensemble as candidate")
    _add_tune(commands)
    _add_config_command(commands, "ablate", "train an experiment's variations and compare them", "ablation", "folds=[0,1]")
    _add_dashboards(commands)
    _add_evaluate(commands)
    _add_config_command(commands, "external", "evaluate one model on several datasets", "list of datasets", "model=BUNDLE_OR_URI")
    _add_predict(commands)
    _add_batch_predict(commands)
    _add_segment(commands)
    _add_series(commands)
    _add_dicomweb(commands)
    _add_promote(commands)
    _add_sync(commands)
    _add_phantoms(commands)
    _add_demo(commands)
    _add_doctor(commands)
    _add_drill(commands)
    return parser


def _add(commands: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False)
    command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of every error")
    return command


def _add_config_command(
    commands: Commands, name: str, summary: str, what: str = "experiment", example: str = "stages.0.epochs=3"
) -> argparse.ArgumentParser:
    command = _add(commands, name, summary)
    command.add_argument("config_path", metavar="CONFIG", help=f"YAML of the {what}, such as those in jobs/configs/")
    _add_overrides(command, what, example)
    return command


def _add_overrides(command: argparse.ArgumentParser, what: str = "experiment", example: str = "stages.0.epochs=3") -> None:
    shown = f"overrule a key of the {what}, e.g. {example}; repeatable"
    command.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help=shown)


def _add_tune(commands: Commands) -> None:
    command = _add_config_command(commands, "tune", "search the resolution schedule and the averaging window", "sweep", "trials=32")
    command.add_argument("--plan", action="store_true", help="print what the sweep would take, and stop")


def _add_dashboards(commands: Commands) -> None:
    command = _add_config_command(
        commands, "dashboards", "serve MLflow's, Optuna's and Ray's dashboards of a sweep", "sweep", "storage=DIR"
    )
    shown = "of {}'s server on 127.0.0.1 (default: {}, or a free one)"
    command.add_argument("--mlflow-port", type=int, metavar="PORT", help=shown.format("MLflow", 5000))
    command.add_argument("--optuna-port", type=int, metavar="PORT", help=shown.format("Optuna", 8080))


def _add_evaluate(commands: Commands) -> None:
    command = _add_config_command(commands, "evaluate", "score a bundle on a split of the prepared dataset")
    command.add_argument("--model", help="a bundle's folder or an MLflow URI; the experiment's own bundle by default")
    command.add_argument("--split", default="validation", metavar="NAME", help="validation (default), test, train, all or a fold's number")
    command.add_argument("--output", metavar="DIR", help="folder of tables and report; under the experiment's storage by default")
    command.add_argument("--no-track", dest="track", action="store_false", help="log nothing to MLflow")


def _add_promote(commands: Commands) -> None:
    command = _add_config_command(commands, "promote", "move the champion alias to the candidate where the gate allows it")
    command.add_argument("--rollback", action="store_true", help="make the champion before this one champion again")


def _add_predict(commands: Commands) -> None:
    command = _add(commands, "predict", "segment radiographs or volumes into masks on their own grid")
    shown = "radiographs: DICOM, PNG, JPEG; volumes: NIfTI, folders or zips of DICOM series; folders and patterns of these"
    _add_segmenting(command, shown)


def _add_batch_predict(commands: Commands) -> None:
    command = _add(commands, "batch-predict", "segment whole archives on a cluster: one table, a mask a study, resumable")
    _add_segmenting(command, "files, folders, patterns and URIs as for predict; or a manifest: Parquet or CSV with a column `image`")
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: as many as the cluster has room for)")
    command.add_argument("--cpus", type=int, metavar="N", help="threads of each (default: radiographs 1, volumes all of a machine's)")
    command.add_argument("--gpus", type=float, metavar="SHARE", help="of a GPU for each, e.g. 0.5 (default: 1 where there are any)")


def _add_segmenting(command: argparse.ArgumentParser, files: str) -> None:
    command.add_argument("files", nargs="+", metavar="FILE", help=files)
    command.add_argument("--output", required=True, metavar="DIR", help="folder or URI of the results")
    shown = "radiographs: png,rle,json,overlay (default: png,json); volumes: nifti,json,overlay (default: nifti,json)"
    command.add_argument("--format", dest="formats", type=_names, metavar="LIST", help=shown)
    shown = "NIfTI files that do not hold HU: their lowest and highest value, which become the ends of the model's window (--window=-1,1)"
    command.add_argument("--window", type=_window, metavar="LOW,HIGH", help=shown)
    _add_model(command)


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", required=True, help="a bundle's folder or an MLflow URI such as models:/cxr-pneumothorax@champion")
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:N")
    command.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    command.add_argument("--tracking-uri", metavar="URI", help="where MLflow keeps a models:/ URI (default: sqlite:///mlflow.db)")
    command.add_argument("--memory-gb", type=float, default=4.0, metavar="GB", help="volumes: main memory of the process (default: 4)")
    shown = "volumes: refuse a DICOM series with gaps, duplicates or a tilted gantry (default), or resample it and say so"
    command.add_argument("--series", default="strict", choices=("strict", "repair"), help=shown)


def _add_segment(commands: Commands) -> None:
    command = _add(commands, "segment", "have radiographs or volumes segmented by a running endpoint")
    command.add_argument("files", nargs="+", metavar="FILE", help="as for predict: what the endpoint segments")
    command.add_argument("--url", required=True, metavar="URL", help="of the app, such as https://chest.example/cxr")
    command.add_argument("--output", required=True, metavar="DIR", help="folder or URI of the results")
    shown = "radiographs: json,png,overlay,dicom (default: png,json); volumes: json,nifti,seg,png,zip,image (default: nifti,json)"
    command.add_argument("--format", dest="formats", type=_names, metavar="LIST", help=shown)
    command.add_argument("--token-file", metavar="FILE", help="holds the token and nothing else; else the variable CHESTSEG_TOKEN is shown")
    command.add_argument("--series", choices=("strict", "repair"), help="as for predict (default: the endpoint's setting)")
    command.add_argument("--at-once", type=int, default=4, metavar="N", help="requests that are under way together (default: 4)")


def _add_series(commands: Commands) -> None:
    command = _add(commands, "series", "say what reading the CT series of a folder or zip would find, refuse and repair")
    command.add_argument("path", metavar="PATH", help="folder, zip or enhanced multi-frame file; also a URI")
    command.add_argument("--json", dest="as_json", action="store_true", help="print what was found for machines")


def _add_dicomweb(commands: Commands) -> None:
    command = _add(commands, "dicomweb", "segment studies of a DICOMweb server and store the segmentations there")
    command.add_argument("--server", required=True, metavar="URL", help="of DICOMweb, such as https://archive.example/dicom-web")
    shown = "studies of this day, or days: YYYYMMDD or YYYYMMDD-YYYYMMDD, either side may be left out"
    days = command.add_mutually_exclusive_group()
    days.add_argument("--date", metavar="RANGE", help=shown)
    days.add_argument("--days", type=int, metavar="N", help="studies of today and the N-1 days before")
    command.add_argument("--limit", type=int, metavar="N", help="at most N studies in one look, those with nothing to do not counted")
    command.add_argument("--watch", type=float, metavar="SECONDS", help="look again every so often, until it is stopped")
    command.add_argument("--dry-run", action="store_true", help="only say what would be segmented")
    command.add_argument("--journal", metavar="DIR", help="folder that keeps what was done and why not (default: chestseg-dicomweb)")
    shown = "words of which BodyPartExamined holds one, where it is stated, or any (default: CHEST,THORAX,LUNG)"
    command.add_argument("--body-parts", type=_names, metavar="LIST", help=shown)
    _add_model(command)


def _add_sync(commands: Commands) -> None:
    command = _add(commands, "sync", "send MLflow what a run or a sweep kept while MLflow could not be reached")
    command.add_argument("run_dir", metavar="RUN_DIR", help="the folder of the run or the sweep")


def _add_phantoms(commands: Commands) -> None:
    command = _add(commands, "phantoms", "write generated chest radiographs or CTs in the layout of a public data set")
    command.add_argument("output", metavar="OUTPUT", help="folder to write")
    shown = "siim (radiographs, default), ricord (CTs as DICOM with outlines), nifti (CTs and masks)"
    command.add_argument("--kind", choices=("siim", "ricord", "nifti"), default="siim", help=shown)
    command.add_argument("--count", type=int, default=64, metavar="N", help="how many (default: 64)")
    command.add_argument("--seed", type=int, default=0, metavar="S")
    command.add_argument("--size", type=int, default=SIIM_SIZE, help=f"edge length of radiographs in pixels (default: {SIIM_SIZE})")


def _add_demo(commands: Commands) -> None:
    command = _add(commands, "demo", "the whole path on generated chests: phantoms, prepare, train, evaluate, predict")
    command.add_argument("config_path", nargs="?", default=DEMO, metavar="CONFIG", help=f"default: {DEMO}")
    _add_overrides(command)


def _add_doctor(commands: Commands) -> None:
    command = _add(commands, "doctor", "look whether this machine and every node of the cluster are fit for a job")
    command.add_argument(
        "config_path", nargs="?", metavar="CONFIG", help="YAML of an experiment or a sweep; without one, what any job needs"
    )
    _add_overrides(command)
    command.add_argument("--json", dest="as_json", action="store_true", help="print what was found for machines")
    command.add_argument("--timeout", type=float, default=120, metavar="S", help="seconds a node may take to answer (default: 120)")


def _add_drill(commands: Commands) -> None:
    command = _add(commands, "drill", "kill a training's workers, nodes, driver and servers on a simulated cluster, and say what was lost")
    command.add_argument("--short", action="store_true", help="a worker and the driver only")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the moments (default: 0)")


def _window(text: str) -> tuple[float, float]:
    low, high = map(float, text.split(","))
    return low, high


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
