"""Points of a sweep's space: drawn by a sampler as named parameters, and made into experiments.

Parameters are named from a schedule's end, so that one name means the same in short schedules and long ones: `lr.last`, `lr.last-1`. Every
name has one distribution in all trials, as samplers need it; hence two rules. The last stage's resolution leaves room for the most stages
that any trial has. The resolution of a stage before it is drawn as a place, from 0 (as low as the stages before it allow) to 1 (next
below the following stage), so that schedules rise by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chestseg.config import Experiment, Model, Space, Sweep, experiment_from
from chestseg.config.domain import Domain, Range, Steps, ends, is_fixed
from chestseg.config.space import PATHS
from chestseg.config.variant import Tree, averaged, exchanged, least_epochs, template
from chestseg.models.registry import build_model
from chestseg.tuning.compute import Costs
from chestseg.tuning.schedule import fill


class Draw(Protocol):
    """Where parameters come from: what is asked of an `optuna.Trial`."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number in [low, high]."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """One of low, low + step, ..., high."""
        ...


@dataclass(frozen=True)
class Point:
    """What a trial is, but for its epochs. Stages are in their order."""

    resolutions: tuple[Tree, ...]
    """Keys of each stage."""
    shares: tuple[float, ...]
    """Of the trial's compute, together 1."""
    values: tuple[Tree, ...]
    """What is drawn of each stage, by its path."""
    encoder: str | None
    tail_lr: float | None


def draw(space: Space, source: Draw) -> dict[str, Any]:
    """Draw a point: its parameters by name, only those that have more than one value."""
    recorded = _Recorded(source)
    point_of(space, recorded)
    return recorded.params


def point_of(space: Space, source: Draw) -> Point:
    """The point that a source's parameters describe."""
    count = int(_value(source, "stages", space.stages))
    return Point(
        resolutions=_resolutions(space, source, count),
        shares=_shares(space, source, count),
        values=_values(space, source, count),
        encoder=_encoder(space, source),
        tail_lr=None if space.tail_lr is None else _value(source, "tail_lr", space.tail_lr),
    )


def experiment_of(sweep: Sweep, base: Experiment, params: dict[str, Any], costs: Costs, number: int) -> Experiment:
    """The experiment of a trial: the base with the point's values, and as many epochs as the budget affords (see `schedule.fill`).

    Args:
        sweep: whose space the parameters are of.
        base: the sweep's.
        params: as `draw` gave them, by name; a point made by hand does as well.
        costs: of all that the space may name.
        number: the trial's.

    Raises:
        ValueError: a parameter is missing or of no such space, or the budget is too small.
    """
    where = f"trial {number}"
    try:
        point = point_of(sweep.space, _Given(params))
        stages = stages_of(sweep, base, point)
        least = [least_epochs(stage) for stage in stages]
        tree = _tree(sweep, base, point, number)
        # The epochs that the base had play no part; with the fewest, an experiment can be checked before they are known.
        tree["stages"] = [stage | {"epochs": n} for stage, n in zip(stages, least, strict=True)]
        rough = experiment_from(tree)
        filled = fill(rough, point.shares, least, sweep.budget.per_trial, sweep.validations, costs)
        return experiment_from(tree | {"stages": [stage | fields for stage, fields in zip(stages, filled, strict=True)]})
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def stages_of(sweep: Sweep, base: Experiment, point: Point) -> list[Tree]:
    """The point's stages as trees; the epochs in them are the base's."""
    last = len(point.resolutions) - 1
    stages = [
        exchanged(template(base, last - place) | resolution, values)
        for place, (resolution, values) in enumerate(zip(point.resolutions, point.values, strict=True))
    ]
    return [*stages[:-1], averaged(stages[-1], sweep.windows, point.tail_lr)]


def models_of(space: Space, base: Experiment) -> list[Model]:
    """All networks that trials may have, so that their weights can be looked for before the start."""
    tree = base.model_dump(mode="json")
    return [experiment_from(exchanged(tree, space.encoder_values(encoder))).model for encoder in space.encoder or [None]]


def require_weights(space: Space, base: Experiment) -> None:
    """See that the pretrained weights of all networks that trials may have can be had here, downloaded where they have to be.

    Raises:
        ValueError: names the first that can't be had, and the remedy.
    """
    for model in models_of(space, base):
        if model.weights != "none":
            build_model(model)


def _tree(sweep: Sweep, base: Experiment, point: Point, number: int) -> Tree:
    tree = exchanged(base.model_dump(mode="json"), sweep.space.encoder_values(point.encoder))
    return tree | {"name": f"{sweep.name}-{number:04d}", "storage": f"{sweep.folder}/trials"}


def _place(behind: int) -> str:
    return f"last-{behind}" if behind else "last"


def _value(source: Draw, name: str, domain: Domain) -> Any:
    if is_fixed(domain):
        return ends(domain)[0]
    match domain:
        case Range():
            return source.suggest_float(name, domain.low, domain.high, log=domain.log)
        case Steps():
            return source.suggest_int(name, domain.low, domain.high, step=domain.step)
    return source.suggest_categorical(name, domain)


def _resolutions(space: Space, source: Draw, count: int) -> tuple[Tree, ...]:
    """From the ladder of all resolutions, downwards from the last stage."""
    ladder = space.ladder
    at = _last_resolution(space, source)
    chosen = [ladder[at]]
    for behind in range(1, count):
        low, high = count - 1 - behind, at - 1
        if len(ladder) == space.most_stages == count:
            at = high
        else:
            place = source.suggest_float(f"{_kind(space)}_place.{_place(behind)}", 0.0, 1.0)
            at = min(high, low + int(place * (high - low + 1)))
        chosen.insert(0, ladder[at])
    return tuple(chosen)


def _last_resolution(space: Space, source: Draw) -> int:
    """Its place on the ladder."""
    ladder, lowest, name = space.ladder, space.most_stages - 1, f"{_kind(space)}.last"
    if lowest == len(ladder) - 1:
        return lowest
    if isinstance(space.sizes, Steps):
        sizes = space.sizes
        return sizes.values.index(source.suggest_int(name, sizes.values[lowest], sizes.high, step=sizes.step))
    labels = [patches.label for patches in space.spacings] if space.spacings else [stage["size"] for stage in ladder]
    return labels.index(source.suggest_categorical(name, labels[lowest:]))


def _kind(space: Space) -> str:
    return "spacing" if space.spacings is not None else "size"


def _shares(space: Space, source: Draw, count: int) -> tuple[float, ...]:
    left, shares = 1.0, []
    for behind in range(count - 1):
        shares.insert(0, left * _value(source, f"share.{_place(behind)}", space.share))
        left -= shares[0]
    return (left, *shares)


def _values(space: Space, source: Draw, count: int) -> tuple[Tree, ...]:
    stages: list[Tree] = [{} for _ in range(count)]
    for name, domain in space.by_stage_key.items():
        path = PATHS.get(name, name)
        if name.partition(".")[0] in space.by_stage:
            for behind in range(count):
                stages[-1 - behind][path] = _value(source, f"{name}.{_place(behind)}", domain)
        else:
            value = _value(source, name, domain)
            for stage in stages:
                stage[path] = value
    return tuple(stages)


def _encoder(space: Space, source: Draw) -> str | None:
    if space.encoder is None:
        return None
    names = tuple(space.encoder)
    return names[0] if len(names) == 1 else source.suggest_categorical("encoder", names)


class _Recorded:
    """Passes draws on and keeps what came of them."""

    def __init__(self, source: Draw) -> None:
        self._source = source
        self.params: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.params[name] = self._source.suggest_categorical(name, choices)
        return self.params[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.params[name] = self._source.suggest_float(name, low, high, log=log)
        return self.params[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        self.params[name] = self._source.suggest_int(name, low, high, step=step)
        return self.params[name]


class _Given:
    """Draws what is given, and sees that it could have been drawn."""

    def __init__(self, params: dict[str, Any]) -> None:
        self._params = params

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._among(name, self._get(name) in choices, list(choices))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return self._among(name, low <= self._get(name) <= high, [low, high])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        return self._among(name, self._get(name) in range(low, high + 1, step), [low, high])

    def _get(self, name: str) -> Any:
        if name not in self._params:
            raise ValueError(f"parameter {name} is missing: a point of this space has it")
        return self._params[name]

    def _among(self, name: str, allowed: bool, of: list[Any]) -> Any:
        if not allowed:
            raise ValueError(f"parameter {name} is {self._params[name]!r}, outside of the space's {of}")
        return self._params[name]
