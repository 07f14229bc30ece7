"""`auto` follows the hardware, a named precision is obeyed."""

import pytest
import torch

from chestseg.models.precision import autocast, compute_dtype

CPU = torch.device("cpu")


def test_named_precision_is_obeyed() -> None:
    assert compute_dtype("bf16", CPU) is torch.bfloat16
    assert compute_dtype("fp32", CPU) is torch.float32


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True}, torch.float32), ({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16)],
)
def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: torch.dtype) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert compute_dtype("auto", CPU) is expected


def test_auto_is_float32_on_devices_it_does_not_know() -> None:
    assert compute_dtype("auto", torch.device("meta")) is torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_computes_in_the_type(dtype: torch.dtype) -> None:
    a = torch.ones(4, 4)
    with autocast(CPU, dtype):
        assert (a @ a).dtype is dtype


@pytest.mark.gpu
def test_auto_on_a_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert compute_dtype("auto", torch.device("cuda")) in (torch.bfloat16, torch.float32)
