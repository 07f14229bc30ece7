"""The endpoint for volumes: `serve run serve_apps.ct:app [key=value ...]`; keys are those of `config.serving.CtServing`."""

from ray.serve import Application

from chestseg.config.serving import CtServing
from chestseg.serving.volumes import volumes


def app(settings: CtServing) -> Application:
    """Serve calls it with the keys of the command line, or those below `args:` in a YAML file."""
    return volumes(settings)
