"""`chestseg phantoms`: generated radiographs as DICOM with an RLE table, for trying things out."""

from tqdm import tqdm

from chestseg.data.phantom_siim import write_siim


def run(output: str, count: int, seed: int, size: int) -> int:
    """Write `count` radiographs of `size` x `size` pixels under `output`, and a tenth as many unlabelled ones.

    Raises:
        ValueError: a count or size out of range, or a folder that holds something else.
    """
    with tqdm(desc="phantoms", unit="file", delay=1) as bar:

        def show(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        write_siim(output, count, seed, size, progress=show)
    print(f"{count} phantoms in {output}")
    return 0
