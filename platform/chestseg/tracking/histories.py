"""What MLflow holds of a run's curves, to be compared with another run's."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from chestseg.tracking.environment import connect
from chestseg.tracking.tracked_run import load_run

TIMED = ("images_per_second", "data_wait")
"""Metrics whose values two runs cannot have in common."""
OF_THE_MACHINE = "system/"
Points = Counter[tuple[str, str, int, float]]
"""How often a point is held: stage, key, step, value."""


@dataclass(frozen=True)
class Difference:
    """Of one run's points from another's."""

    doubled: int
    """Points of a stage, key and step that is held already."""
    missing: int
    changed: int
    """Held for the same stage, key and step, with another value."""

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.doubled or self.missing or self.changed)


def difference(run_folder: Path, undisturbed: Path, values: bool = True) -> Difference:
    """How the curves of a run differ from those of one that ought to have the same.

    Args:
        run_folder: of the run.
        undisturbed: of the other.
        values: whether they must agree in their values too.
    """
    found, expected = _points(run_folder), _points(undisturbed)
    places, places_expected = ({point[:3] for point in points} for points in (found, expected))
    common = {point for point in found if point[:3] in places_expected}
    return Difference(
        doubled=sum(found.values()) - len(places),
        missing=len(places_expected - places) + len(places - places_expected),
        changed=len({point[:3] for point in common if point not in expected}) if values else 0,
    )


def _points(run_folder: Path) -> Points:
    run = load_run(run_folder)
    client = connect(run.uri)
    points: Points = Counter()
    for stage, run_id in [("job", run.run_id), *((str(place), run_id) for place, run_id in enumerate(run.stage_run_ids))]:
        for key in client.get_run(run_id).data.metrics:
            if not key.startswith(OF_THE_MACHINE):
                timed = key in TIMED
                points.update((stage, key, m.step, 0.0 if timed else m.value) for m in client.get_metric_history(run_id, key))
    return points
