import pytest
import torch

from benchmarks.accuracy.checkpoint import Checkpoint

CPU = torch.device("cpu")


def test_what_was_written_is_read(tmp_path):
    checkpoint = Checkpoint(tmp_path / "deep/a.pt", {"seed": 0})
    assert checkpoint.read(CPU) is None
    checkpoint.write({"x": torch.arange(3), "history": [0.5], "big": 2**100})
    found = checkpoint.read(CPU)
    assert found["x"].tolist() == [0, 1, 2]
    assert (found["history"], found["big"]) == ([0.5], 2**100)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.pt"]
    assert Checkpoint(tmp_path / "deep/a.pt", {"seed": 1}).read(CPU) is None
    checkpoint.remove()
    assert checkpoint.read(CPU) is None


class Program:
    def __reduce__(self):
        return print, ("run",)


def test_a_file_that_is_cut_off_or_holds_a_program_is_not_read(tmp_path, capsys):
    checkpoint = Checkpoint(tmp_path / "a.pt", {})
    checkpoint.write({"x": torch.zeros(100)})
    whole = checkpoint.path.read_bytes()
    for content in (b"", whole[:200], b"no checkpoint"):
        checkpoint.path.write_bytes(content)
        assert checkpoint.read(CPU) is None
    torch.save({"about": {}, "state": Program()}, checkpoint.path)
    assert checkpoint.read(CPU) is None
    assert not capsys.readouterr().out


def test_a_full_disk_is_said_and_the_file_before_is_kept(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "a.pt", {})
    checkpoint.write({"x": 1})

    def full(content, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"a\.pt: expected to keep a checkpoint, got PytorchStreamWriter failed"):
        checkpoint.write({"x": 2})
    assert checkpoint.read(CPU) == {"x": 1}
    assert len(list(tmp_path.iterdir())) == 1
