"""Where things lie: a folder, or a URI of a bucket. Nothing is asked here; `chestseg.storage` reads and writes."""

from pathlib import Path

SCHEMES = ("s3://", "gs://")
"""Of buckets: S3 and what speaks like it, Google Cloud Storage."""


def is_uri(location: str | Path) -> bool:
    """Whether it lies in a bucket; everything else is a path."""
    return str(location).startswith(SCHEMES)


def a_folder(location: str) -> str:
    """Refuse what is neither a folder nor a bucket's URI, and a URI that tells a secret or an option.

    Raises:
        ValueError: says what to give instead.
    """
    if "://" not in location:
        return location
    if not is_uri(location):
        raise ValueError("neither a folder nor a bucket: give a folder that all nodes share, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER")
    bucket, _, folder = location.partition("://")[2].partition("/")
    if not bucket or not folder.strip("/"):
        raise ValueError("a bucket alone, or none: give a folder in it, such as s3://BUCKET/FOLDER")
    if set("@?#") & set(location):
        raise ValueError("keys and options do not belong into a URI: give s3://BUCKET/FOLDER, the rest comes from the environment")
    return location.rstrip("/")


def a_path(location: str) -> str:
    """Refuse a URI where only a folder will do: as a path it would be a folder of that name on each node.

    Raises:
        ValueError: says what to give instead.
    """
    if "://" in location:
        raise ValueError(f"{location}: a URI where files are renamed and read in place: give a folder that all nodes share")
    return location


def inside(location: str, *names: str) -> str:
    """The location of something in a folder."""
    return "/".join([location.rstrip("/"), *names]) if is_uri(location) else str(Path(location, *names))


def absolute(location: str) -> str:
    """A path that does not depend on the current folder; a URI never does."""
    return location if is_uri(location) else str(Path(location).absolute())
