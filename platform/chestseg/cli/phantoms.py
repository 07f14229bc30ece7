"""`chestseg phantoms`: generated radiographs as DICOM with an RLE table, for trying things out."""

from chestseg.data.phantom_siim import write_siim


def run(output: str, count: int, seed: int, size: int) -> int:
    """Write `count` radiographs of `size` x `size` pixels under `output`."""
    if count < 1:
        raise ValueError(f"--count {count}: at least one radiograph")
    write_siim(output, count, seed, size)
    print(f"{count} phantoms in {output}")
    return 0
