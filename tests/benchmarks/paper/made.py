"""A handful of real files in the layout of each data set."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np

SIZE = 32


def video(path: Path, codec: str, seed: int, *, sound: bool = False, frames: int = 6) -> None:
    """Encode a video of two frames a second with a moving square, with or without a tone."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=2)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        track = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for k in range(frames):
            image = np.full((SIZE, SIZE, 3), seed * 40 % 256, dtype=np.uint8)
            image[k : k + 8, k : k + 8] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
        if track is not None:
            wave = av.AudioFrame.from_ndarray(tone(seed, 16000, frames / 2)[None], format="fltp", layout="mono")
            wave.sample_rate = 16000
            container.mux(track.encode(wave))
            container.mux(track.encode(None))


def tone(seed: int, rate: int, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(np.arange(round(rate * seconds)) * (0.05 + 0.02 * seed))).astype(np.float32)


def photo(path: Path, seed: int, mode: str = "RGB") -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE + 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def kinetics_sounds(root: Path, each: int = 5) -> None:
    for label, name in enumerate(("playing violin", "tap dancing")):
        for k in range(each):
            split = "val" if k == 0 else "train"
            video(root / split / name / f"{label}_abc-ef{k:03}_000010_000020.mp4", "mpeg4", label, sound=True)


def crema_d(root: Path, actors: int = 5) -> None:
    import soundfile

    (root / "AudioWAV").mkdir(parents=True)
    for actor in range(1001, 1001 + actors):
        for label, emotion in enumerate(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")):
            name = f"{actor}_DFA_{emotion}_XX"
            video(root / "VideoFlash" / f"{name}.flv", "flv", label, frames=3)
            soundfile.write(root / "AudioWAV" / f"{name}.wav", tone(label, 16000, 0.5), 16000)


def ucf_101(root: Path, groups: int = 5) -> None:
    for label, name in enumerate(("Archery", "YoYo")):
        for group in range(1, groups + 1):
            for clip in (1, 2):
                stem = f"v_{name}_g{group:02}_c{clip:02}"
                video(root / "UCF-101" / name / f"{stem}.avi", "mpeg4", label, frames=3)
                for component in "uv":
                    for frame in (1, 2):
                        photo(root / "tvl1_flow" / component / stem / f"frame{frame:06}.jpg", label, "L")


def food_101(root: Path, each: int = 6) -> None:
    (root / "texts").mkdir(parents=True)
    for split, places in (("train", range(each - 2)), ("test", range(each - 2, each))):
        with (root / "texts" / f"{split}_titles.csv").open("w", newline="") as file:
            for label, name in enumerate(("apple_pie", "waffles")):
                for k in places:
                    photo(root / "images" / split / name / f"{name}_{k}.jpg", label)
                    csv.writer(file).writerow([f"{name}_{k}.jpg", f'The best {name}, "really"', name])


def cmu_mosi(root: Path, counts: tuple[int, int, int] = (6, 6, 6)) -> None:
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    content = {}
    for split, each in zip(("train", "valid", "test"), counts, strict=True):
        labels = np.resize([-1.5, 2.0], (each, 1, 1)).astype(np.float32)
        arrays = {name: rng.normal(size=(each, 5, width)) for name, width in (("vision", 35), ("audio", 74))}
        # The text tells the class, by its first half and its second.
        arrays["text"] = rng.normal(size=(each, 5, 300)) + np.repeat([1, -1], 150) * labels / 2
        arrays["audio"][0, 0, 0] = -np.inf
        arrays["id"] = np.array([[f"{split}video{k // 2}[{k}]"] for k in range(each)], dtype=object)
        content[split] = {**arrays, "labels": labels}
    (root / "mosi_raw.pkl").write_bytes(pickle.dumps(content))


def sarcasm(root: Path, each: int = 5) -> None:
    (root / "text").mkdir(parents=True)
    number = 0
    for file in ("train.txt", "valid2.txt", "test2.txt"):
        lines = []
        for label in (0, 1):
            for _ in range(each):
                number += 1
                photo(root / "dataset_image" / f"{number}.jpg", label)
                both = [label] if file == "train.txt" else [1 - label, label]
                lines.append(repr([str(number), f"what a day don 't you think # {'rain' * label}", *both]))
        lines.append(repr(["999", "so much # sarcasm here", *([1] if file == "train.txt" else [1, 1])]))
        (root / "text" / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def twitter2015(root: Path, each: int = 4) -> None:
    (root / "twitter2015").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        lines = ["index\t#1 Label\t#2 ImageID\t#3 String\t#3 String"]
        for label in (0, 1, 2):
            for k in range(each):
                image = f"{split}{label}{k}.jpg"
                photo(root / "twitter2015_images" / image, label)
                for name, other in (("Miami", "Boston"), ("Boston", "Miami")):
                    lines.append(f"{len(lines)}\t{label}\t{image}\tRT @ me : $T$ and {other}\t{name}")
        (root / "twitter2015" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


MAKERS: dict[str, Callable[[Path], None]] = {
    "kinetics-sounds": kinetics_sounds,
    "crema-d": crema_d,
    "ucf-101": ucf_101,
    "food-101": food_101,
    "cmu-mosi": cmu_mosi,
    "sarcasm": sarcasm,
    "twitter2015": twitter2015,
}
