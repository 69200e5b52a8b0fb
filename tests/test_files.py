"""JSON that any reader takes, whole or not at all."""

import json
import os

import pytest

from midas_core.files import check_writable, package_versions, parse_json, read_text, write_json, write_whole


def test_what_is_not_finite_becomes_null(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_json(path, {"loss": float("nan"), "values": (1.0, float("inf")), 3: [-float("inf")], "name": "é\udc80"})
    assert json.loads(path.read_text()) == {"loss": None, "values": [1.0, None], "3": [None], "name": "é\udc80"}
    assert "NaN" not in path.read_text()
    assert path.read_text().startswith('{\n "loss": null,\n'), "a person reads it too"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})

    def full(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        write_json(path, {"a": 2})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_readers_never_see_half_a_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")
    seen, replace = [], os.replace

    def look(beside, target):
        seen.append((path.read_bytes(), beside.read_bytes()))
        replace(beside, target)

    monkeypatch.setattr(os, "replace", look)
    write_whole(path, b"new")
    assert seen == [(b"old", b"new")]


def test_only_files_are_written_over(tmp_path):
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_text("precious")
    link.symlink_to(target)
    os.mkfifo(pipe)
    for path, said in ((link, "a symbolic link"), (pipe, "something else"), (tmp_path, "a folder")):
        for function in (lambda path: write_whole(path, b"page"), check_writable):
            with pytest.raises(OSError, match=f"expected a file, got {said}"):
                function(path)
    assert target.read_text() == "precious"


def test_reading_takes_files_of_a_size(tmp_path):
    (tmp_path / "file").write_bytes(b"caf\xc3")
    assert read_text(tmp_path / "file", 5) == "caf\ufffd"
    with pytest.raises(OSError, match="expected at most 3 bytes, got 4"):
        read_text(tmp_path / "file", 3)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"^expected a file$"):
        read_text(tmp_path / "pipe", 3)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 10**6)


def test_check_writable(tmp_path):
    check_writable(tmp_path / "new" / "file.json")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file" / "inside.json")


def test_versions():
    found = package_versions("numpy", "no-such-package")
    assert list(found) == ["python", "numpy"]
