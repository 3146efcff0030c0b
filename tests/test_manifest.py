"""The napari manifest: valid, found by npe2, and a real file in the wheel."""

import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from npe2 import PluginManager, PluginManifest

import napari_gempick

ROOT = Path(__file__).parents[1]
PACKAGED = Path(napari_gempick.__file__).parent / "napari.yaml"


def test_manifest_is_valid():
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    manifest.validate_imports()
    assert manifest.name == "napari-gempick"


def test_npe2_validates_the_installed_plugin():
    command = [sys.executable, "-m", "npe2", "validate", "napari-gempick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_plugin_is_discovered():
    manager = PluginManager()
    manager.discover()
    assert manager.get_manifest("napari-gempick").package_version == napari_gempick.__version__


def test_root_and_package_have_the_same_manifest():
    assert PACKAGED.read_bytes() == (ROOT / "napari.yaml").read_bytes()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_has_the_manifest_as_a_real_file(wheel):
    entry = wheel.getinfo("napari_gempick/napari.yaml")
    assert not stat.S_ISLNK(entry.external_attr >> 16)
    assert wheel.read(entry) == (ROOT / "napari.yaml").read_bytes()


def test_wheel_has_what_is_no_python(wheel):
    names = wheel.namelist()
    assert {"napari_gempick/device/kernels.cu", "napari_gempick/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_plugin_is_discovered_in_an_installed_wheel(wheel, tmp_path):
    """What pip makes of a wheel is its files and metadata in a folder on the path, without the checkout."""
    wheel.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from npe2 import PluginManager; import napari_gempick; manager = PluginManager(); manager.discover();"
        "print(napari_gempick.__file__, manager.get_manifest('napari-gempick').name)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "napari_gempick" / "__init__.py"), "napari-gempick"]
