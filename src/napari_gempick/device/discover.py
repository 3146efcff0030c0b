"""The devices of this machine, and the ones that `--devices` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_gempick.device.cores import usable_cores
from napari_gempick.device.cpu import CpuDevice
from napari_gempick.device.plan import library_versions
from napari_gempick.model.errors import DeviceError, SettingsError

if TYPE_CHECKING:
    from napari_gempick.device.base import Device
    from napari_gempick.device.plan import PlanStore


def find_gpus() -> tuple[list[dict[str, Any]], str]:
    """Return the GPUs that CuPy can use (number, name, free and total memory in bytes) and why there are none."""
    try:
        import cupy
    except ImportError:
        return [], "CuPy is not installed (in a copy of the repository: pip install '.[cuda13]' or '.[cuda12]')"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own classes for a missing driver, each version others
        return [], f"CuPy {cupy.__version__} finds no usable driver ({error})"
    gpus = []
    for number in range(count):
        properties = cupy.cuda.runtime.getDeviceProperties(number)
        with cupy.cuda.Device(number):
            free, total = cupy.cuda.runtime.memGetInfo()
        gpus.append({"device": f"cuda:{number}", "name": properties["name"].decode(), "free": free, "total": total})
    return gpus, "" if gpus else "no GPU is visible"


def describe_machine() -> dict[str, Any]:
    """Return what `gempick devices` shows: the CPU, GPUs with free memory, library versions."""
    gpus, reason = find_gpus()
    return {
        "cpu": {"device": "cpu", "threads": usable_cores(), **library_versions()},
        "gpus": gpus,
        "no_gpu_because": reason,
    }


def open_devices(spec: str, threads: int, plans: PlanStore) -> list[Device]:
    """Return the devices that `spec` names, each item a logical device of its own.

    Parameters
    ----------
    spec : str
        `auto` (all GPUs, else the CPU) or a comma-separated list of `cpu` and `cuda:N`; items may repeat.
    threads : int
        CPU threads in all, shared among the `cpu` items; 0: usable_cores().
    plans : PlanStore

    Raises
    ------
    SettingsError
        An item is neither `cpu` nor `cuda:N`.
    DeviceError
        A GPU is asked for that is not there.
    """
    items = [item.strip().lower() for item in spec.split(",") if item.strip()]
    if items == ["auto"]:
        gpus, _ = find_gpus()
        items = [gpu["device"] for gpu in gpus] or ["cpu"]
    wrong = [item for item in items if item != "cpu" and not (item.startswith("cuda:") and item[5:].isdigit())]
    if wrong or not items:
        raise SettingsError(f"--devices {spec}: write auto, or a list of cpu and cuda:N such as cuda:0,cuda:1.")
    n_cpu = items.count("cpu")
    total = max(threads or usable_cores(), n_cpu)
    devices: list[Device] = []
    for item in items:
        repeat = sum(device.name.split("#")[0] == item for device in devices)
        name = item if items.count(item) == 1 else f"{item}#{repeat + 1}"
        if item == "cpu":
            devices.append(CpuDevice(total // n_cpu + (repeat < total % n_cpu), plans, name))
        else:
            devices.append(_open_gpu(item, name))
    return devices


def _open_gpu(item: str, name: str) -> Device:
    gpus, reason = find_gpus()
    if item not in [gpu["device"] for gpu in gpus]:
        there = ", ".join(gpu["device"] for gpu in gpus)
        raise DeviceError(
            f"{item} is not available ({reason or f'there are {there}'}); run `gempick devices` or use --devices cpu."
        )
    from napari_gempick.device.gpu import GpuDevice

    device: Device = GpuDevice(int(item[5:]), name)
    return device
