"""The one rule all configuration records share: frozen, and no unknown key."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A frozen record that refuses keys it does not know and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
