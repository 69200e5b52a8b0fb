from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from benchmarks.paper.decoding import DamagedError, Flow, Frames, Photo, Spectrogram
from benchmarks.paper.listing import DataError, FlowFolders
from tests.benchmarks.paper import made

SOUND = Spectrogram(seconds=1, rate=16000, window=512, hop=159)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "mpeg4"), ("avi", "mpeg4"), ("flv", "flv")])
def test_frames_are_the_middles_of_equal_shares_of_the_video(tmp_path, suffix, codec):
    made.video(tmp_path / f"a.{suffix}", codec, 0, frames=6)
    clip = Frames(count=3, size=made.SIZE).decode(tmp_path / f"a.{suffix}")
    assert clip.shape == (3, 3, made.SIZE, made.SIZE)
    assert clip.dtype == np.uint8
    # In frame k the square covers k to k + 7: frames 1, 3 and 5.
    assert [np.argwhere(image[0] > 200).mean() for image in clip] == pytest.approx([4.5, 6.5, 8.5], abs=0.3)


def test_more_frames_than_the_video_has(tmp_path):
    made.video(tmp_path / "a.avi", "mpeg4", 0, frames=2)
    assert Frames(count=5, size=8).decode(tmp_path / "a.avi").shape == (5, 3, 8, 8)


def test_the_sound_of_a_video_and_of_a_wav_file(tmp_path):
    import soundfile

    made.video(tmp_path / "a.mp4", "mpeg4", 3, sound=True)
    wave = made.tone(3, 8000, 1.0)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, wave], axis=1), 8000)
    # A tone of 0.11 radians a sample, at 16 and at 8 kHz, in steps of 16000 / 512 Hz.
    for name, bin_of_tone in (("a.mp4", 0.11 * 512 / (2 * np.pi)), ("a.wav", 0.11 * 256 / (2 * np.pi))):
        clip = SOUND.decode(tmp_path / name)
        assert clip.shape == (1, 1, 257, 101)
        assert clip.dtype == np.float32
        assert clip.mean() == pytest.approx(0, abs=1e-4)
        assert clip.std() == pytest.approx(1, abs=1e-4)
        assert clip[0, 0, :, 50].argmax() == pytest.approx(bin_of_tone, abs=1)


def test_a_short_sound_is_repeated(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", made.tone(1, 16000, 0.1), 16000)
    assert SOUND.decode(tmp_path / "a.wav").shape == (1, 1, 257, 101)


def test_the_flow_of_the_middles(tmp_path):
    for component, level in (("u", 50), ("v", 200)):
        folder = tmp_path / component
        folder.mkdir()
        for k in range(1, 5):
            Image.new("L", (20, 16), level + k).save(folder / f"frame{k:06}.jpg")
    clip = Flow(count=2, size=8).decode(FlowFolders(tmp_path / "u", tmp_path / "v"))
    assert clip.shape == (2, 2, 8, 8)
    assert clip[:, :, 0, 0].tolist() == [[52, 202], [54, 204]]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_photos_of_any_kind_become_colour(tmp_path, mode):
    made.photo(tmp_path / "a.jpg", 0, mode)
    assert Photo(size=8).decode(tmp_path / "a.jpg").shape == (1, 3, 8, 8)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("a.flv", Frames(3, 8)),
        ("a.mp4", Frames(3, 8)),
        ("a.avi", Frames(3, 8)),
        ("a.mp4", SOUND),
        ("a.jpg", Photo(8)),
    ],
)
def test_a_file_that_is_cut_off_is_damaged(tmp_path, name, decoder, share):
    path = tmp_path / name
    if path.suffix == ".jpg":
        made.photo(path, 0)
    else:
        made.video(path, "flv" if path.suffix == ".flv" else "mpeg4", 0, frames=20, sound=path.suffix == ".mp4")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedError, match=r"^expected .*, (got|found)"):
        decoder.decode(path)


def test_silence_and_what_has_no_sound_are_damaged(tmp_path):
    import soundfile

    for seconds in (0, 1):
        soundfile.write(tmp_path / "a.wav", np.zeros(16000 * seconds), 16000)
        with pytest.raises(DamagedError, match=f"expected sound, got silence of {seconds}.00 s"):
            SOUND.decode(tmp_path / "a.wav")
    made.video(tmp_path / "a.mp4", "mpeg4", 0)
    with pytest.raises(DamagedError, match="expected a stream of audio, found video"):
        SOUND.decode(tmp_path / "a.mp4")
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(DamagedError, match="expected video or sound that FFmpeg reads"):
        SOUND.decode(tmp_path / "b.wav")


def test_a_flow_without_images_is_damaged(tmp_path):
    with pytest.raises(DamagedError, match=r"expected frame000001\.jpg and on, found none"):
        Flow(2, 8).files(FlowFolders(tmp_path, tmp_path))


def test_a_missing_codec_is_not_the_fault_of_the_file(tmp_path):
    path = tmp_path / "a.avi"
    made.video(path, "mpeg4", 0)
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"QQQQ"))
    with pytest.raises(DataError, match=r"a\.avi: expected a codec for its video in PyAV, found none"):
        Frames(2, 8).decode(path)
