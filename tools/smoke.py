"""Import every module that needs no window, and pick one simulated micrograph with the command: on any system."""

import importlib
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path

import napari_gempick

LEFT_OUT = ("napari_gempick.widgets", "napari_gempick.device.gpu")


def main() -> None:
    """Import, simulate, pick, evaluate."""
    for found in pkgutil.walk_packages(napari_gempick.__path__, "napari_gempick."):
        if not found.name.startswith(LEFT_OUT) and not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    with tempfile.TemporaryDirectory() as folder:
        data, picks = Path(folder) / "data", Path(folder) / "picks"
        gempick("simulate", "-o", data, "--size", "512", "--particles", "12", "--snr", "0.3")
        templates = [f"{view}={data / f'template_{view}.mrc'}" for view in ("side", "top")]
        gempick("pick", data / "micrograph_001.mrc", "-o", picks, "--templates", *templates, "--diameter", "400",
                "--lowpass", "30", "--angle-step", "15", "--threshold", "auto")  # fmt: skip
        gempick("evaluate", picks, data / "micrograph_001_truth.csv", "--tolerance", "30", "--edge", "45")


def gempick(*arguments: object) -> None:
    """Run the command; an error ends the program."""
    subprocess.run([sys.executable, "-m", "napari_gempick", *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
