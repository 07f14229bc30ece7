"""In which floating-point type a network computes: one answer for training, evaluation and serving."""

from typing import Literal, TypeAlias

import torch

Precision: TypeAlias = Literal["auto", "bf16", "fp32"]

AMPERE = 8
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")


def compute_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The type for `precision` on `device`: `auto` is bfloat16 where the hardware multiplies in it, else float32."""
    if precision == "fp32" or (precision == "auto" and not _native_bf16(device)):
        return torch.float32
    return torch.bfloat16


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Context in which a network computes in `dtype`; with float32 it changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)


def _native_bf16(device: torch.device) -> bool:
    """Emulated bfloat16 is slower than float32, so only matrix instructions of its own count."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= AMPERE
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in BF16_INSTRUCTIONS)
    return False
