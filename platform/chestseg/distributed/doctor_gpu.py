"""A node's GPUs as NVIDIA's own library sees them; sent to nodes by value, as `doctor_node`."""

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

SLOWED_BY = {
    "hardware": "nvmlClocksThrottleReasonHwSlowdown",
    "heat": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "heat (hardware)": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "its power supply": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
}
"""Why a healthy GPU does not run at its clock, and NVML's bit for it; a power cap and idleness are no illness."""


def gpus() -> list[dict[str, Any]] | str:
    """Each GPU's name, memory in bytes, processes and faults; or why the library can't be asked. Empty where there is no driver.

    What a GPU does not report, such as ECC on consumer cards, is None or empty.
    """
    pynvml: Any = importlib.import_module("pynvml")
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return []
    except pynvml.NVMLError as error:
        return f"NVIDIA's driver can't be asked: {error}"
    try:
        return [_gpu(pynvml, place) for place in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return f"NVIDIA's driver lost a GPU: {error}"
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml: Any, place: int) -> dict[str, Any]:
    handle = pynvml.nvmlDeviceGetHandleByIndex(place)

    def told(ask: Callable[[], Any]) -> Any:
        with contextlib.suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission, pynvml.NVMLError_FunctionNotFound):
            return ask()
        return None

    memory = told(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    uncorrected = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
    rows = told(lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
    slowed = told(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0
    return {
        "name": str(pynvml.nvmlDeviceGetName(handle)),
        "total": memory and memory.total,
        "free": memory and memory.free,
        "processes": [process.pid for process in told(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []],
        "ecc": told(lambda: pynvml.nvmlDeviceGetTotalEccErrors(handle, uncorrected, pynvml.NVML_VOLATILE_ECC)),
        "rows_pending": bool(rows and rows[2]),
        "rows_failed": bool(rows and rows[3]),
        "slowed": [reason for reason, bit in SLOWED_BY.items() if slowed & getattr(pynvml, bit)],
    }
