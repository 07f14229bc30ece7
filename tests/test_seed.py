"""Seeds depend on every part and its kind, and never change between releases."""

from chestseg.seed import seed_for


def test_seeds_are_fixed_and_tell_parts_apart() -> None:
    assert seed_for(1, "order", 2) == seed_for(1, "order", 2) == 2020886880065396977
    assert len({seed_for(1, 23), seed_for(12, 3), seed_for("1", 23), seed_for(1, "23"), seed_for(123)}) == 5
    assert 0 <= seed_for("x") < 2**63
