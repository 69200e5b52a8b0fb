"""UCF-101: actions in video, as colour and as optical flow (Soomro, Zamir and Shah, 2012).

The videos as they come, ``UCF-101/{class}/v_{class}_g01_c01.avi``, and beside them the flow that Feichtenhofer et al.
(2016) publish with their two-stream fusion, ``tvl1_flow/{u,v}/v_{class}_g01_c01/frame000001.jpg``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.paper.listing import FlowFolders, Listing, Problem, Sample, files_in, make_listing

LAYOUT = "UCF-101/{class}/v_{class}_g{group}_c{clip}.avi, and tvl1_flow/{u,v}/v_{class}_g{group}_c{clip}/"

_NAME = re.compile(r"v_(.+)(_g\d+)(_c\d+)")


def read(root: Path) -> Listing:
    """List the clips. The group is the scene: the same people at the same place."""
    classes = [path.name for path in files_in(root, "UCF-101", LAYOUT) if path.is_dir()]
    flow = root / "tvl1_flow"
    files_in(root, "tvl1_flow", LAYOUT)
    return make_listing(root, LAYOUT, classes, _samples(root / "UCF-101", flow, classes))


def _samples(videos: Path, flow: Path, classes: list[str]) -> Iterator[Sample | Problem]:
    for path in sorted(videos.glob("*/*.avi")):
        match = _NAME.fullmatch(path.stem)
        if match is None:
            yield Problem(str(path), "expected a name such as v_Archery_g01_c01.avi")
        else:
            name = path.stem
            if not (flow / "u" / name).is_dir():
                # The videos of HandstandPushups are called v_HandStandPushups, their flow is not.
                name = f"v_{path.parent.name}{match[2]}{match[3]}"
            sources = (path, FlowFolders(flow / "u" / name, flow / "v" / name))
            yield Sample(path.stem, classes.index(path.parent.name), sources, match[1] + match[2])
