"""One look at an archive: which series have no segmentation by this model yet, and each of them segmented and stored."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chestseg.archive.journal import PASSED, REFUSED, STORED, Journal
from chestseg.archive.segmenting import Segmenter
from chestseg.archive.server import SeriesListed, Server, Study, Trouble, Unreachable


@dataclass
class Tally:
    """Of one look: images of radiographs, series of CT."""

    stored: int = 0
    refused: int = 0
    """Their own fault: not tried again while they are as they are."""
    failed: int = 0
    """The server's: tried again at the next look."""
    waiting: int = 0
    """Still growing, or not yet known not to."""


@dataclass(frozen=True)
class Work:
    """A series with images that no segmentation refers to."""

    study: Study
    series: SeriesListed
    images: list[str]
    """All of it."""
    left: list[str]
    """Those without a segmentation."""


class Watcher:
    """Looks at an archive as often as it is told to.

    A series is known to be done by the objects that the archive has of it, whose UIDs follow from the series and the model, and by the
    journal, which also knows what can't be done.

    Args:
        server: the archive.
        segmenter: the model.
        journal: of this server.
        say: is told of each series in one line.
        settle: whether a series is taken only when two looks in a row saw the same images: it may still be arriving.
    """

    def __init__(self, server: Server, segmenter: Segmenter, journal: Journal, say: Callable[[str], None], *, settle: bool = False) -> None:
        self.server, self.segmenter, self.journal, self.say, self.settle = server, segmenter, journal, say, settle
        self.seen: dict[str, list[str]] = {}
        self.finished: dict[str, object] = {}
        self.failures: dict[str, int] = {}
        self.put_off: dict[str, int] = {}

    def look(self, dates: str | None = None, limit: int | None = None, *, dry_run: bool = False) -> Tally:
        """Deal with all studies, or with the first `limit` in which there is something to do.

        Raises:
            Unreachable: the server answers nobody; what was stored before stays so.
        """
        tally, dealt_with = Tally(), 0
        for study in self._studies(dates):
            work = self._work(study, tally)
            for one in work:
                if dry_run:
                    self.say(f"{_called(one)}: {len(one.left)} of {len(one.images)} images to segment")
                else:
                    self._deal_with(one, tally)
            dealt_with += bool(work)
            if limit is not None and dealt_with >= limit:
                break
        return tally

    def _studies(self, dates: str | None) -> Iterator[Study]:
        """Each once, though it may have several of the modalities; not those that are as they were when nothing was left to do."""
        given: set[str] = set()
        for modality in self.segmenter.modalities:
            for study in self.server.studies(modality, dates):
                if study.uid not in given and (study.counts is None or self.finished.get(study.uid) != study.counts):
                    yield study
                given.add(study.uid)

    def _work(self, study: Study, tally: Tally) -> list[Work]:
        """What is to be done in a study now."""
        found: list[Work] = []
        waiting = tally.waiting
        try:
            series = self.server.series(study.uid)
            for one in series:
                if one.modality in self.segmenter.modalities:
                    found += self._left(study, one, {s.uid for s in series}, tally)
        except Unreachable:
            raise
        except Trouble as trouble:
            tally.failed += 1
            self.say(f"study {study.uid}: {trouble}")
            return []
        if not found and tally.waiting == waiting and study.counts is not None:
            self.finished[study.uid] = study.counts
        return found

    def _left(self, study: Study, series: SeriesListed, there: set[str], tally: Tally) -> list[Work]:
        result, images = self.segmenter.result_uid(series.uid), self.server.images(study.uid, series.uid)
        if not images or self.journal.settled(result, images):
            return []
        done = self.server.referred_to(study.uid, result) if result in there else set()
        left = [image for image in images if image not in done]
        if not left:
            self.journal.note(result, images, study.uid, series.uid, STORED)
            return []
        if self.put_off.get(result, 0) > 0 or (self.settle and self.seen.get(result) != images):
            self.put_off[result] = max(0, self.put_off.get(result, 0) - 1)
            self.seen[result] = images
            tally.waiting += 1
            return []
        return [Work(study, series, images, left)]

    def _deal_with(self, work: Work, tally: Tally) -> None:
        result = self.segmenter.result_uid(work.series.uid)
        try:
            stored, reasons, refused = self._segment(work)
        except Unreachable:
            raise
        except Trouble as trouble:
            tally.failed += 1
            # Twice as many looks later each time: segmenting is not cheap.
            self.failures[result] = self.failures.get(result, 0) + 1
            self.put_off[result] = min(2 ** self.failures[result], 64) - 2
            self.say(f"{_called(work)}: {trouble}")
            return
        tally.stored += stored
        tally.refused += refused
        what = STORED if stored else REFUSED if refused else PASSED
        self.journal.note(result, work.images, work.study.uid, work.series.uid, what, reasons)
        self.say(f"{_called(work)}: {'; '.join(([f'{stored} stored'] if stored else []) + reasons)}")

    def _segment(self, work: Work) -> tuple[int, list[str], int]:
        """How many segmentations were stored, reasons why others were not, and how many of these are refusals."""
        units = [work.images] if self.segmenter.volumes else [[image] for image in work.left]
        passed = {unit[0]: self._unfit(work, unit[0]) for unit in units}
        reasons = [f"{passed[unit[0]]}: passed over" for unit in units if passed[unit[0]]]
        units = [unit for unit in units if not passed[unit[0]]]
        made: list[bytes] = []
        refusals: list[str] = []
        if units:
            with tempfile.TemporaryDirectory(prefix="chestseg-dicomweb-") as folder:
                made, refusals = self._made(work, units, Path(folder))
        if made:
            self.server.store(work.study.uid, made)
        return len(made), [*reasons, *refusals], len(refusals)

    def _unfit(self, work: Work, image: str) -> str:
        return self.segmenter.unfit(self.server.attributes(work.study.uid, work.series.uid, image))

    def _made(self, work: Work, units: Sequence[Sequence[str]], folder: Path) -> tuple[list[bytes], list[str]]:
        images = [image for unit in units for image in unit]
        try:
            files = dict(zip(images, self.server.fetch(work.study.uid, work.series.uid, images, folder), strict=True))
        except Trouble:
            raise
        except ValueError as error:
            return [], [str(error)]
        made: list[bytes] = []
        refusals: list[str] = []
        for unit in units:
            try:
                made.append(self.segmenter.segment([files[image] for image in unit]))
            except ValueError as error:
                refusals.append(
                    " ".join(str(error).replace(f"{files[unit[0]]}", f"image {unit[0]}").replace(f"{folder}", "the series").split())
                )
        return made, refusals


def _called(work: Work) -> str:
    return f"study {work.study.uid} series {work.series.uid}"
