"""Several networks as one: the mean of their probabilities."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from chestseg.models.logits import Logits
from chestseg.models.segmenter import Segmenter

EPSILON = 1e-7
"""Probabilities are kept this far from 0 and 1, where a logit would be infinite."""
MEMBERS = "members"


class Ensemble(Segmenter):
    """Answers with the logits of the mean probability, so that whoever takes a network takes an ensemble, too; for inference only.

    The mean is over members before it is over flips or patches, which are means as well: the order does not matter.
    """

    def __init__(self, members: Sequence[Segmenter]) -> None:
        super().__init__()
        assert len(members) > 1, "a mean of one"
        self.members = nn.ModuleList(members)
        self.layout = members[0].layout

    @property
    def encoder(self) -> nn.Module:
        """That of the first member."""
        first = self.members[0]
        assert isinstance(first, Segmenter)
        return first.encoder

    def forward(self, images: torch.Tensor) -> Logits:
        """Images as for any member, to the logits of their mean probability."""
        answers: list[Logits] = [member(images) for member in self.members]
        diseases = [answer.disease for answer in answers if answer.disease is not None]
        return Logits(_mean([answer.mask for answer in answers]), _mean(diseases) if diseases else None)


def joined(members: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The state dict of an `Ensemble` from those of its members, in their order."""
    return {f"{MEMBERS}.{place}.{name}": tensor for place, member in enumerate(members) for name, tensor in member.items()}


def _mean(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """In float32, whatever the members computed in."""
    return torch.stack([each.float().sigmoid() for each in logits]).mean(0).logit(eps=EPSILON)
