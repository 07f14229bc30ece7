"""Whether a sweep's space fits its base: every value it names must make an experiment that could be trained."""

from chestseg.config.domain import Domain, ends
from chestseg.config.experiment import Experiment
from chestseg.config.load import experiment_from
from chestseg.config.space import PATHS, Space
from chestseg.config.stage import MASK_TERMS, RadiographStage
from chestseg.config.variant import Tree, averaged, exchanged, least_epochs, template
from chestseg.config.windows import Windows


def check_fit(space: Space, windows: Windows | None, base: Experiment, where: str) -> None:
    """Refuse a space that contradicts its base.

    Args:
        space: of the sweep.
        windows: of the sweep.
        base: of the sweep.
        where: what errors call the sweep.

    Raises:
        ValueError: one line that names the key and the remedy.
    """
    try:
        _of_one_track(space, base)
        _comparable(base)
        _averaging(space, windows, base)
        _stages(space, base)
        _losses(space, base)
        _encoders(space, base)
        _windows_hold(windows)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _of_one_track(space: Space, base: Experiment) -> None:
    radiographs = isinstance(base.stages[0], RadiographStage)
    if radiographs != (space.sizes is not None):
        given, wanted = ("spacings", "sizes") if radiographs else ("sizes", "spacings")
        raise ValueError(f"space.{given}: the base {base.name} is of track {base.track}: give {wanted} instead")


def _comparable(base: Experiment) -> None:
    if base.fold == "all":
        raise ValueError("the base's fold is `all`, so no trial can be validated: set: [fold=0]")
    for place, stage in enumerate(base.stages):
        if stage.early_stop:
            raise ValueError(f"the base's stages.{place}.early_stop would end a trial before its compute: set it to null")


def _averaging(space: Space, windows: Windows | None, base: Experiment) -> None:
    swa = base.stages[-1].swa
    if windows and space.tail_lr is None and not (swa and swa.lr):
        raise ValueError("windows need a tail at a constant rate: give space.tail_lr, or swa.lr in the base's last stage")
    if space.tail_lr is not None and not windows and not swa:
        raise ValueError("space.tail_lr: without windows, and swa in the base's last stage, there is no tail: give windows")


def _stages(space: Space, base: Experiment) -> None:
    """Try each value alone at each place of the schedule: what is allowed at the ends of a range is allowed between them."""
    for behind in range(space.most_stages):
        tree = template(base, behind)
        for keys in space.ladder:
            _try(base, tree | keys, f"space, {', '.join(f'{key} {value}' for key, value in keys.items())}")
        for name, domain in space.by_stage_key.items():
            for value in ends(domain):
                _try(base, exchanged(tree, {PATHS.get(name, name): value}), f"space.{name} {value:g}")
    for rate in ends(space.tail_lr) if space.tail_lr is not None else ():
        last = template(base, 0)
        _try(base, averaged(last | {"swa": last["swa"] or {"last": 1}}, None, rate), f"space.tail_lr {rate:g}")
    if space.lr is not None:
        _rates_fall(space.lr, space, base)


def _try(base: Experiment, stage: Tree, where: str) -> None:
    """Raise what an experiment of this stage would be refused for."""
    experiment_from(base.model_dump(mode="json") | {"stages": [stage | {"epochs": stage["epochs"] + least_epochs(stage)}]}, where)


def _rates_fall(rates: Domain, space: Space, base: Experiment) -> None:
    for behind in range(space.most_stages):
        optimiser = template(base, behind)["optimiser"]
        if optimiser["curve"] != "constant" and min(ends(rates)) < optimiser["final_lr"]:
            raise ValueError(
                f"space.lr goes down to {min(ends(rates)):g}, below the base's final_lr {optimiser['final_lr']:g}, so the rate would rise: "
                "raise the one or lower the other"
            )


def _losses(space: Space, base: Experiment) -> None:
    """Some mask loss must have a weight in every trial."""
    named = {term: getattr(space.loss, term) for term in MASK_TERMS}
    for behind in range(space.most_stages):
        weights = template(base, behind)["loss"]
        lowest = [weights[term] if domain is None else min(ends(domain)) for term, domain in named.items()]
        if not any(lowest):
            raise ValueError("space.loss: all mask losses may be 0 in one trial: keep the weight of one of them above 0")


def _encoders(space: Space, base: Experiment) -> None:
    tree = base.model_dump(mode="json")
    for encoder in space.encoder or ():
        if "encoder" not in tree["model"]:
            raise ValueError(f"space.encoder: the base's {base.model.architecture} has none to choose: leave it out")
        experiment_from(exchanged(tree, space.encoder_values(encoder)), f"space.encoder {encoder}")


def _windows_hold(windows: Windows | None) -> None:
    """A tail must hold as many different windows of two epochs or more as are to be scored."""
    if windows is None:
        return
    tail = windows.tail
    room = sum(max(0, tail - count * stride) for stride in range(1, tail) for count in range(1, tail))
    if room < windows.candidates:
        raise ValueError(f"windows.tail of {tail} epochs holds {room} windows, {windows.candidates} are to be scored: raise windows.tail")
