"""The paper's experiments: reader, modalities and training of each data set.

From the paper (Hwang, Choi and Whang, NeurIPS 2025), the warm-up from its authors' code. What neither says was chosen
here: ``benchmarks/README.md`` has the list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.paper.decoding import Features, Flow, Frames, Photo, Spectrogram, Text
from benchmarks.paper.listing import Listing
from benchmarks.paper.readers import cmu_mosi, crema_d, food101, kinetics_sounds, sarcasm, twitter2015, ucf101

MOMENTUM, WEIGHT_DECAY, BATCH_SIZE, DECAY, ETA = 0.9, 1e-4, 64, 0.1, 0.05
"""The same for all: of SGD, of StepLR, and the step size of the weak-modality weight."""


@dataclass(frozen=True)
class Experiment:
    """A data set as the paper uses it.

    ``decoders`` by modality, in the order of the sources of a sample; ``step`` in epochs, after which the learning rate
    is multiplied by `DECAY`; ``weight`` is lambda of eq. 11; ``classes`` are the paper's, a folder may have others.
    """

    title: str
    read: Callable[[Path], Listing]
    classes: int
    decoders: Mapping[str, Any] = field(hash=False)
    pretrained: bool = False
    learning_rate: float = 1e-3
    epochs: int = 70
    step: int = 50
    weight: float = 1.0
    warmup_epochs: int = 0


EXPERIMENTS: Mapping[str, Experiment] = {
    "kinetics-sounds": Experiment(
        "Kinetics-Sounds",
        kinetics_sounds.read,
        31,
        {"audio": Spectrogram(seconds=10, rate=16000, window=512, hop=159), "video": Frames(count=3, size=256)},
        weight=5.0,
        warmup_epochs=10,
    ),
    "crema-d": Experiment(
        "CREMA-D",
        crema_d.read,
        6,
        {"audio": Spectrogram(seconds=3, rate=22050, window=512, hop=353), "video": Frames(count=2, size=256)},
        warmup_epochs=10,
    ),
    "ucf-101": Experiment(
        "UCF-101",
        ucf101.read,
        101,
        {"rgb": Frames(count=3, size=256), "flow": Flow(count=3, size=256)},
        learning_rate=1e-2,
    ),
    "food-101": Experiment(
        "UPMC Food-101",
        food101.read,
        101,
        {"text": Text(length=40), "image": Photo(size=256)},
        pretrained=True,
        epochs=30,
        step=15,
        warmup_epochs=2,
    ),
    "cmu-mosi": Experiment(
        "CMU-MOSI",
        cmu_mosi.read,
        2,
        {"text": Features(width=300), "audio": Features(width=74), "video": Features(width=35)},
        learning_rate=1e-2,
    ),
    "sarcasm": Experiment(
        "Sarcasm",
        sarcasm.read,
        2,
        {"text": Text(length=40), "image": Photo(size=256)},
        pretrained=True,
    ),
    "twitter2015": Experiment(
        "Twitter2015",
        twitter2015.read,
        3,
        {"text": Text(length=64), "image": Photo(size=256)},
        pretrained=True,
    ),
}
