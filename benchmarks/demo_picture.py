"""The README's picture: two phantoms of the demo, as they are and with the predicted mask.

make demo && .venv/bin/python -m benchmarks.demo_picture
"""

import json
from pathlib import Path

import cv2
import numpy as np

from chestseg.dicom.radiograph import read_radiograph

DEMO = Path("demo")
EDGE = 360


def main() -> None:
    """Write docs/demo.jpg from the first two phantoms in which the demo found a pneumothorax."""
    found = [path.stem for path in sorted((DEMO / "masks" / "cases").glob("*.json")) if json.loads(path.read_text())["present"]]
    tiles = []
    for case in found[:2]:
        [source] = (DEMO / "siim").rglob(f"{case}.dcm")
        picture = read_radiograph(source).pixels
        overlay = cv2.imread(str(DEMO / "masks" / "overlays" / f"{case}.png"))
        assert overlay is not None, case
        tiles += [cv2.resize(tile, (EDGE, EDGE), interpolation=cv2.INTER_AREA) for tile in (np.dstack([picture] * 3), overlay)]
    cv2.imwrite("docs/demo.jpg", np.hstack(tiles), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
