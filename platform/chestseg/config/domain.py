"""What one parameter of a sweep is drawn from: real numbers, whole numbers, or a list of values."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from chestseg.config.strict import Strict


class Range(Strict):
    """Real numbers from `low` to `high`; with `log` every order of magnitude is as likely as any other."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}: exchange them")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm: raise it above 0, or leave log out")
        return self


class Steps(Strict):
    """The whole numbers `low`, `low + step`, ... up to `high`."""

    low: int
    high: int
    step: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}: exchange them")
        if (self.high - self.low) % self.step:
            raise ValueError(f"steps of {self.step} from {self.low} miss high {self.high}: change step, low or high")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(range(self.low, self.high + 1, self.step))


def _listed(given: Any) -> Any:
    """One value stands for a list of it."""
    return given if isinstance(given, (dict, list, tuple, Strict)) else [given]


def _distinct(domain: Any) -> Any:
    if isinstance(domain, tuple) and not domain:
        raise ValueError("an empty list: give at least one value, or leave the key out to keep the base's")
    if isinstance(domain, tuple) and len(set(domain)) < len(domain):
        raise ValueError(f"{list(domain)} holds a value twice: give each once")
    return domain


def _kind(given: Any) -> str:
    return "list" if isinstance(given, (list, tuple)) else "range"


Reals = Annotated[
    Annotated[Annotated[Range, Tag("range")] | Annotated[tuple[float, ...], Tag("list")], Discriminator(_kind)],
    BeforeValidator(_listed),
    AfterValidator(_distinct),
]
"""In YAML `{low: 1.0e-4, high: 1.0e-2, log: true}`, `[0.5, 0.7]`, or one number."""
Wholes = Annotated[
    Annotated[Annotated[Steps, Tag("range")] | Annotated[tuple[int, ...], Tag("list")], Discriminator(_kind)],
    BeforeValidator(_listed),
    AfterValidator(_distinct),
]
"""In YAML `{low: 96, high: 256, step: 32}`, `[4, 8, 16]`, or one number."""
Domain = Range | Steps | tuple[float, ...] | tuple[int, ...]


def ends(domain: Domain) -> tuple[float, ...] | tuple[int, ...]:
    """All values of a list or of steps, lowest and highest of a range: where each is allowed, everything between is."""
    match domain:
        case Range():
            return domain.low, domain.high
        case Steps():
            return domain.values
    return domain


def is_fixed(domain: Domain) -> bool:
    """Whether there is but one value, so that nothing is drawn."""
    return len(set(ends(domain))) == 1


def is_list(domain: Domain) -> bool:
    """Whether it is drawn as one of several values without an order."""
    return isinstance(domain, tuple) and not is_fixed(domain)
