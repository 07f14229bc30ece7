"""Files that are wrong in thousands of ways, made from sound ones by a seed, and what must be answered to each."""

import gzip
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import nibabel
import numpy as np
from pydicom import dcmread

from tests.serving.volumes_sent import form, zipped

OCTETS = "application/octet-stream"
KEYS = {"code", "message", "request_id"}
BOMB = 40_000_000
"""Bytes of zeros in bombs: a thousand times what is sent."""
STRANGERS = (b"%PDF-1.7\n", b"<!DOCTYPE html>", b'{"a": 1}', b"\x7fELF\x02\x01\x01", b"GIF89a", b"II*\0", b"BM", b"PK\x05\x06" + bytes(18))
SHAPES = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")


class Mutant(NamedTuple):
    """A request's body."""

    what: str
    body: bytes
    kind: str = OCTETS


Maker = Callable[[random.Random, Sequence[bytes]], Mutant]


def radiographs(sound: Sequence[bytes], count: int, seed: int = 0) -> Iterator[Mutant]:
    """Mutants of DICOM, PNG and JPEG files."""
    return _mutants(sound, count, seed, (*GENERAL, *GENERAL, _stranger, _png_bomb, _jpeg_of_another_size, _dicom_of_another_shape))


def volumes(sound: Sequence[bytes], series: Sequence[tuple[str, bytes]], count: int, seed: int = 0) -> Iterator[Mutant]:
    """Mutants of NIfTI files and zips, and of the files of a series, sent as a zip or as a form."""
    others = (_stranger, _nifti_of_another_shape, _nifti_bomb, _zip_bomb, lambda rng, _: _series(rng, series), _lying_zip)
    packed = (lambda rng, _: _zip_of_names(rng, series), lambda rng, _: _form(rng, series), lambda rng, _: _nested(rng, series))
    return _mutants(sound, count, seed, (*GENERAL, *GENERAL, *others, *packed))


def check(mutant: Mutant, status: int, told: Any) -> None:
    """Fail unless the answer is a valid 200, or a 4xx that says what is wrong and nothing of this machine."""
    if status == 200:
        assert told, mutant.what
        return
    assert 400 <= status < 500, (mutant.what, status, told)
    error = told["error"]
    assert set(error) == KEYS and len(error["message"]) > 10 and error["request_id"], (mutant.what, told)
    assert not any(word in error["message"] for word in ("Traceback", "/tmp", "/work", "site-packages", 'File "')), (mutant.what, told)


def _mutants(sound: Sequence[bytes], count: int, seed: int, makers: Sequence[Maker]) -> Iterator[Mutant]:
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        yield makers[number % len(makers)](rng, sound)


def _truncated(rng: random.Random, sound: Sequence[bytes]) -> Mutant:
    whole = rng.choice(sound)
    return Mutant("truncated", whole[: int(len(whole) * rng.random() ** 2)])


def _flipped(rng: random.Random, sound: Sequence[bytes]) -> Mutant:
    """One to 64 bits, half of the time in the first 2 kB, where headers are."""
    body = bytearray(rng.choice(sound))
    reach = len(body) if rng.random() < 0.5 else min(2048, len(body))
    for _ in range(2 ** rng.randrange(7)):
        body[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return Mutant("bits flipped", bytes(body))


def _overwritten(rng: random.Random, sound: Sequence[bytes]) -> Mutant:
    """Extreme numbers where numbers may be."""
    body = bytearray(rng.choice(sound))
    for _ in range(rng.randrange(1, 4)):
        number = rng.choice((b"\xff" * 2, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, b"\x80\0\0\0", struct.pack("<f", float("nan"))))
        at = rng.randrange(min(4096, len(body)))
        body[at : at + len(number)] = number
    return Mutant("numbers overwritten", bytes(body))


def _spliced(rng: random.Random, sound: Sequence[bytes]) -> Mutant:
    """The head of one with the tail of another, or a part twice, or noise in between."""
    one, other = rng.choice(sound), rng.choice(sound)
    at = rng.randrange(len(one))
    middle = rng.randbytes(rng.randrange(1000)) if rng.random() < 0.5 else b""
    return Mutant("spliced", one[:at] + middle + other[rng.randrange(len(other)) :])


def _stranger(rng: random.Random, sound: Sequence[bytes]) -> Mutant:
    """Of another kind, or only the first bytes right."""
    head = rng.choice((*STRANGERS, rng.choice(sound)[:132], rng.choice(sound)[:352], b""))
    return Mutant("wrong type", head + rng.randbytes(rng.randrange(5000)))


GENERAL: tuple[Maker, ...] = (_truncated, _flipped, _overwritten, _spliced, _flipped)


def _png_bomb(rng: random.Random, _: Sequence[bytes]) -> Mutant:
    """A size that is not there, or is there and is only zeros."""
    width, height = (rng.choice((1, 6000, 60_000, 2**31 - 1)) for _ in range(2))
    return Mutant("PNG bomb", png_that_declares(width, height, BOMB if rng.random() < 0.2 else 1000))


def png_that_declares(width: int, height: int, zeros: int = 1_000_000) -> bytes:
    """A PNG file of 8-bit grey of another size than its pixels are."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header, pixels = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), zlib.compress(bytes(zeros), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _jpeg_of_another_size(rng: random.Random, _: Sequence[bytes]) -> Mutant:
    body = bytearray(cv2.imencode(".jpg", np.full((16, 16), 100, np.uint8))[1].tobytes())
    frame = body.index(b"\xff\xc0")
    struct.pack_into(">HH", body, frame + 5, rng.choice((0, 1, 6000, 65535)), rng.choice((0, 1, 6000, 65535)))
    return Mutant("JPEG of another size", bytes(body))


def _dicom_of_another_shape(rng: random.Random, sound: Sequence[bytes]) -> Mutant:
    dataset = dcmread(io.BytesIO(rng.choice([one for one in sound if one[128:132] == b"DICM"])))
    for _ in range(rng.randrange(1, 3)):
        keyword = rng.choice(SHAPES)
        setattr(dataset, keyword, rng.choice((0, 1, 7, 8, 12, 16, 32, 64, 255, 60_000, 65_535)))
    file = io.BytesIO()
    dataset.save_as(file)
    return Mutant("DICOM of another shape", file.getvalue())


def _nifti_of_another_shape(rng: random.Random, sound: Sequence[bytes]) -> Mutant:
    """Sizes, spacings and places that are none."""
    image = nibabel.Nifti1Image(np.full((6, 5, 4), -850, np.int16), np.eye(4))
    body = bytearray(image.to_bytes())
    for _ in range(rng.randrange(1, 3)):
        kind, at, count = rng.choice((("<h", 40, 8), ("<h", 70, 1), ("<h", 72, 1), ("<f", 76, 8), ("<f", 108, 3), ("<f", 280, 12)))
        wild = (-1, 0, 1, 2, 512, 32767) if kind == "<h" else (-1.0, 0.0, 1e-30, 0.01, 300.0, 1e9, 3e38, float("inf"), float("nan"))
        struct.pack_into(kind, body, at + struct.calcsize(kind) * rng.randrange(count), rng.choice(wild))
    return Mutant("NIfTI of another shape", gzip.compress(bytes(body), 1) if rng.random() < 0.5 else bytes(body))


def _nifti_bomb(rng: random.Random, _: Sequence[bytes]) -> Mutant:
    """Zeros that are there, of a shape that fits them or not."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(rng.choice((np.uint8, np.int16, np.float64)))
    header.set_data_shape(rng.choice(((1000, 1000, 40), (30_000, 30_000, 30_000), (4, 4, 4))))
    header.set_sform(np.diag([4.0, 4.0, 4.0, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    return Mutant("NIfTI bomb", gzip.compress(header.binaryblock + bytes(4 + BOMB), 9))


def _zip_bomb(rng: random.Random, _: Sequence[bytes]) -> Mutant:
    count = rng.choice((1, 3))
    return Mutant("zip bomb", zipped([(f"{n}.dcm", bytes(rng.choice((BOMB, 3 * BOMB)))) for n in range(count)]))


def _lying_zip(rng: random.Random, _: Sequence[bytes]) -> Mutant:
    """A member that says it is small and is not, or is encrypted, or of a method that is none."""
    body = bytearray(zipped([("a.dcm", bytes(1_000_000))]))
    at = body.index(b"PK\x01\x02")
    offset, size = rng.choice(((24, 4), (20, 4), (8, 2), (10, 2), (42, 4), (28, 2), (38, 4)))
    body[at + offset : at + offset + size] = rng.choice((b"\1\0\0\0", b"\xff\xff\xff\xff", b"\x10\0\0\0", b"\0\0\0\xa0"))[:size]
    return Mutant("lying zip", bytes(body))


def _zip_of_names(rng: random.Random, series: Sequence[tuple[str, bytes]]) -> Mutant:
    name = rng.choice(("../../up.dcm", "/etc/passwd", "C:\\x.dcm", "a/../../b", "..\\..\\c", "x" * 5000, "a\0b", "a\nb", "日本.dcm", "."))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA))) as archive:
        for old, content in series:
            archive.writestr(old, content)
        archive.writestr(name, series[0][1])
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16 if rng.random() < 0.3 else 0
        archive.writestr(link, "/etc/passwd")
    return Mutant("zip of names", file.getvalue())


def _nested(rng: random.Random, series: Sequence[tuple[str, bytes]]) -> Mutant:
    body = zipped(series[: rng.randrange(len(series))])
    for depth in range(rng.randrange(1, 5)):
        body = zipped([(f"{depth}.zip", body)])
    return Mutant("nested zips", body)


def _series(rng: random.Random, series: Sequence[tuple[str, bytes]]) -> Mutant:
    """A zip of a series of which one or more files are mutants, or absent, or there twice."""
    files = list(series)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(files))
        maker = rng.choice((*GENERAL, _dicom_of_another_shape))
        files[at : at + 1] = rng.choice(([], [files[at]] * 2, [(files[at][0], maker(rng, [files[at][1]]).body)])) or files[:1]
    return Mutant("series with a mutant", zipped([(f"{n}", content) for n, (_, content) in enumerate(files)]))


def _form(rng: random.Random, series: Sequence[tuple[str, bytes]]) -> Mutant:
    """A form of a series' files with a name that leads out, cut, or with bits flipped outside of them."""
    body, kind = form([(rng.choice(("../../x.dcm", "/etc/passwd", name)), content) for name, content in series[:5]])
    return rng.choice((Mutant("form", body, kind), Mutant("form", _flipped(rng, [body]).body, kind), Mutant("form", body[:-40], kind),
                       Mutant("form", body, "multipart/form-data"), Mutant("form", body, f"{kind}x")))  # fmt: skip
