"""A job folder is there whole or not at all, whatever ends its export."""

import pytest

from napari_gempick.cluster.export import in_one_piece
from napari_gempick.model.errors import OutputError, SettingsError


@pytest.mark.parametrize("fault", [OutputError, SettingsError, RuntimeError, MemoryError, KeyboardInterrupt])
def test_an_export_that_fails_leaves_nothing(tmp_path, fault):
    place = tmp_path / "my job"

    @in_one_piece
    def export(folder):
        folder.mkdir(parents=True)
        (folder / "templates.mrc").write_bytes(b"half")
        raise fault(f"Cannot copy into {folder}.")

    with pytest.raises(fault) as caught:
        export(place)
    if fault in (OutputError, SettingsError):
        assert caught.value.sentence == f"Cannot copy into {place}."
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_removed_and_what_lives_is_not(tmp_path):
    """The hidden folder of a process that is gone, and that of one that is at work."""
    place = tmp_path / "job"
    left = tmp_path / ".tmp-job" / "job" / "half"
    left.mkdir(parents=True)

    @in_one_piece
    def second(folder):
        raise AssertionError("begun beside the first")

    @in_one_piece
    def first(folder):
        assert not left.exists() and not place.exists()
        folder.mkdir(parents=True)
        with pytest.raises(SettingsError, match="Another run is writing"):
            second(place)
        assert folder.is_dir()
        raise OutputError("enough")

    with pytest.raises(OutputError, match="enough"):
        first(place)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_to_the_export_to_refuse(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")

    @in_one_piece
    def export(folder):
        assert folder == tmp_path
        raise SettingsError("not empty")

    with pytest.raises(SettingsError, match="not empty"):
        export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
