"""The endpoint for radiographs: `serve run serve_apps.cxr:app [key=value ...]`; keys are those of `config.serving.CxrServing`."""

from ray.serve import Application

from chestseg.config.serving import CxrServing
from chestseg.serving.radiographs import radiographs


def app(settings: CxrServing) -> Application:
    """Serve calls it with the keys of the command line, or those below `args:` in a YAML file."""
    return radiographs(settings)
