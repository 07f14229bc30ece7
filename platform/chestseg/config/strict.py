"""The one rule all configuration records share: frozen, and no unknown key."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Strict(BaseModel):
    """A frozen record that refuses keys it does not know and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class Extended(Strict):
    """A record that got keys after experiments had been named by it.

    What was added later is left out of a dump while it says nothing: the digests of earlier experiments, and so their runs, stay.
    """

    later: ClassVar[dict[str, Any]]
    """The keys, and what each says while it says nothing."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if key not in self.later or value != self.later[key]}
