"""Made-up recordings of spoken digits: each digit its own tone, each speaker a pitch and a pace of their own."""

from pathlib import Path

import numpy as np

SPEAKERS = ("ada", "ben", "cleo", "dan")
TAKES = 2


def write_recordings(root: Path) -> Path:
    """Write ``recordings/{digit}_{speaker}_{index}.wav``, 8 kHz, and return the folder that holds it."""
    import soundfile

    (root / "recordings").mkdir()
    rng = np.random.default_rng(0)
    for number, speaker in enumerate(SPEAKERS):
        time = np.arange(1600 + 400 * number) / 8000
        for digit in range(10):
            for take in range(TAKES):
                tone = np.sin(2 * np.pi * (300 + 250 * digit + 20 * number) * time)
                sound = 0.3 * tone + 0.01 * rng.normal(size=len(time))
                soundfile.write(root / "recordings" / f"{digit}_{speaker}_{take}.wav", sound, 8000)
    return root
