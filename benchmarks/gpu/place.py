"""The device, and what only a GPU can do. In a dry run the CPU stands in for it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

Step = Callable[[], Any]


class Place:
    """Where it runs.

    Parameters
    ----------
    dry : bool
        Whether the CPU stands in for the GPU: everything is called, nothing is shown.
    """

    def __init__(self, *, dry: bool) -> None:
        self.dry = dry
        self.device = "cpu" if dry else "cuda"

    def describe(self) -> dict[str, Any]:
        """Return the names and versions of what it runs on."""
        if self.dry:
            return {"device": platform.processor() or platform.machine()}
        fields = ("name", "driver_version", "memory.total", "clocks.max.sm", "clocks.max.mem")
        command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].split(", ")
        return {**dict(zip(fields, (x.strip() for x in found), strict=False)), "cuda": torch.version.cuda}

    def waits(self, step: Step) -> bool:
        """Return whether a step makes the host wait for the device."""
        if self.dry:
            step()
            return False
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            return True
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return False

    def graph(self, step: Step) -> Step:
        """Return what replays a step that was captured in a CUDA graph."""
        if self.dry:
            return step
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        return graph.replay

    def launches(self, step: Step) -> int:
        """Return how many kernels a step launches; in a dry run, how many operations it calls."""
        activity = ProfilerActivity.CPU if self.dry else ProfilerActivity.CUDA
        where = DeviceType.CPU if self.dry else DeviceType.CUDA
        step()
        self.finish()
        with profile(activities=[activity]) as profiler:
            step()
            self.finish()
        events = [event.name for event in profiler.events() or () if event.device_type == where]
        return sum(not name.startswith(("Memset", "Memcpy")) for name in events)

    def finish(self) -> None:
        """Wait for the device."""
        if not self.dry:
            torch.cuda.synchronize()
