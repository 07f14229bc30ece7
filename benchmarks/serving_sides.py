"""FastAPI apps that Serve is compared with, run by uvicorn: `plain` as a user writes it, `ours` around our predictor.

The bundle's folder is in SERVING_BUNDLE, the number of PyTorch threads in SERVING_THREADS. Both read files with our reader, which is as
fast as pydicom's own, and answer what Serve answers. A route that is `def` runs in FastAPI's pool of threads, one that is `async def` in
the event loop, one request after the other: FastAPI's documentation shows both.
"""

import os
from typing import Any

import torch
from fastapi import FastAPI, Request

from chestseg.arrays.resize import resize_image
from chestseg.arrays.rle import encode_rle
from chestseg.bundle import load_bundle
from chestseg.dicom.radiograph import Radiograph, read_radiograph
from chestseg.inference import postprocess
from chestseg.inference.predictor import Prediction, Predictor
from chestseg.inference.write import describe


def plain() -> FastAPI:
    """An eager float32 network, one call a request."""
    torch.set_num_threads(int(os.environ["SERVING_THREADS"]))
    bundle = load_bundle(os.environ["SERVING_BUNDLE"])
    network, before, rule = bundle.build_model().eval(), bundle.spec.preprocessing, bundle.spec.postprocessing

    def answer(data: bytes) -> dict[str, Any]:
        radiograph = read_radiograph(data, "image")
        pixels = torch.from_numpy(resize_image(radiograph.pixels, before.size)).float() / 255
        image = ((pixels - before.mean) / before.std)[None, None]
        with torch.inference_mode():
            found = network(image)
            probabilities = found.mask.sigmoid()
            if rule.flip_tta:
                probabilities = (probabilities + network(image.flip(-1)).mask.sigmoid().flip(-1)) / 2
        disease = None if found.disease is None else float(found.disease.sigmoid())
        values = probabilities[0, 0].numpy()
        mask = postprocess.apply(values, disease, rule, radiograph.pixels.shape[:2])
        return told(Prediction(mask, float(values.max()) if disease is None else disease, values), radiograph)

    return _app(answer)


def ours() -> FastAPI:
    """Our predictor, one call a request."""
    torch.set_num_threads(int(os.environ["SERVING_THREADS"]))
    predictor = Predictor(load_bundle(os.environ["SERVING_BUNDLE"]))

    def answer(data: bytes) -> dict[str, Any]:
        radiograph = read_radiograph(data, "image")
        return told(predictor.predict([radiograph.pixels])[0], radiograph)

    return _app(answer)


def told(prediction: Prediction, radiograph: Radiograph) -> dict[str, Any]:
    """The answer's JSON."""
    return describe(prediction, radiograph.spacing_mm) | {"rle": encode_rle(prediction.mask)}


def _app(answer: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/loop")
    async def in_the_loop(request: Request) -> dict[str, Any]:
        return answer(await request.body())

    async def body(request: Request) -> bytes:
        return await request.body()

    from fastapi import Depends

    @app.post("/pool")
    def in_the_pool(data: bytes = Depends(body)) -> dict[str, Any]:
        return answer(data)

    @app.get("/health")
    async def health() -> str:
        return "ok"

    return app
