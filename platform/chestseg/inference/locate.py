"""Where a bundle is: a folder, or a model that MLflow keeps."""

from pathlib import Path

from chestseg.bundle import DESCRIPTION, Bundle, load_bundle
from chestseg.config import Tracking
from chestseg.config.location import is_uri

MLFLOW = ("models:/", "runs:/")


def open_bundle(model: str, tracking_uri: str | None = None) -> Bundle:
    """Load and check a bundle.

    Args:
        model: its folder or URI, or an MLflow URI such as `models:/cxr-pneumothorax@champion` or `runs:/RUN_ID/model`.
        tracking_uri: MLflow's server or database for such a URI; the default of `config.Tracking` when None.

    Raises:
        ValueError: there is none, or it is damaged; names it and the remedy.
    """
    if is_uri(model):
        return load_bundle(_copied(model))
    if not model.startswith(MLFLOW):
        return load_bundle(model)
    # MLflow takes seconds to import and a folder needs none of it.
    from chestseg.tracking.registry import download_bundle

    return load_bundle(download_bundle(model, tracking_uri or Tracking().uri))


def _copied(uri: str) -> Path:
    """This machine's copy of a bundle in a bucket."""
    # pyarrow's buckets take a while to import, and a folder needs none of it.
    from chestseg.storage.copies import node_copy

    try:
        return node_copy(uri, DESCRIPTION)
    except FileNotFoundError:
        raise ValueError(f"{uri}: no bundle, it has no {DESCRIPTION}: give the folder that train wrote") from None
