"""Seeds as pure functions of names and positions, so a resumed run draws what an undisturbed one would have drawn."""

import hashlib


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed from any mix of names and numbers: equal parts give equal seeds on every machine.

    `seed_for(experiment.seed, "augment", stage, epoch, slot)` needs no random state to be saved: the position is the state.
    """
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
