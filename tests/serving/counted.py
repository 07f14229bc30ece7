"""An app's metrics that remember what was counted."""

from chestseg.serving.metrics import Metrics


class Counted(Metrics):
    """Counts as the app's own do, and keeps a list."""

    def __init__(self, app: str) -> None:
        super().__init__(app)
        self.answers: list[tuple[str | None, bool]] = []
        self.whys: list[str] = []

    def answer(self, version: str | None, positive: bool) -> None:
        super().answer(version, positive)
        self.answers.append((version, positive))

    def skipped(self, why: str) -> None:
        super().skipped(why)
        self.whys.append(why)
