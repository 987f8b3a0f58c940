"""The cost of predictions by canvas mode: time, memory, FLOPs, and FLOPs per solved task (arXiv 2512.11847)."""

import dataclasses
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels.yardstick import gemm_gflops
from solver.settings.config import CanvasConfig, CanvasMode
from train_offline.analysis.findings import Findings, percent
from train_offline.analysis.forward import Bench, Judge, answer
from train_offline.analysis.inputs import StoppingOptions, Subject
from train_offline.analysis.vote_statistics import vote_hits
from train_offline.cost import si


@dataclass(frozen=True)
class EfficiencyOptions(StoppingOptions):
    augmentations: int = 8  # Votes per test input: variants, the canonical one included.


def efficiency(subject: Subject, options: EfficiencyOptions) -> Findings:
    """Examples per second, peak memory, GEMM-GFLOP and FLOPs of predictions, FLOPs per solved task, by canvas mode.

    An example is one variant of a test input through all its supervision steps, decoding included. A task is solved if
    pass@2 of the votes finds all its outputs. FLOPs are those of matrix products, 2 per multiply-add, without fitting.
    GEMM-GFLOP are seconds times the matrix-product rate of this machine.
    """
    # small canvases first, as memory once allocated may not be returned
    own = subject.knowledge.canvas_mode
    small: CanvasMode = "tight" if own == "full" else own
    both: list[CanvasMode] = [small, "full"] if subject.knowledge.model.config.any_canvas else ["full"]
    benches = {
        mode: Bench(subject, options.batch_tokens, options.decoder, CanvasConfig(mode))
        for mode in ([options.canvas] if options.canvas else both)
    }
    figures = {mode: measure(bench, options) for mode, bench in benches.items()}
    rows = [
        {
            "canvas": f"`{mode}`" + (" (default)" if mode == own else ""),
            "examples/s": f"{part['examples_per_second']:.3g}",
            "steps per example": f"{part['supervision_steps_per_example']:.1f}",
            "peak memory": si(part["peak_memory_bytes"], "B"),
            "GEMM-GFLOP per example": f"{part['gemm_gflop_per_example']:.3g}",
            "GFLOP per example": f"{part['gflop_per_example']:.3g}",
            "tasks solved": str(part["tasks_solved"]),
            "FLOP per solved task": si(part["flop_per_solved_task"], "FLOP") if part["tasks_solved"] else "–",
            "pass@2": percent(part["pass@2"]),
        }
        for mode, part in figures.items()
    ]
    return {"modes": figures, "default_mode": own}, rows


def measure(bench: Bench, options: EfficiencyOptions) -> dict[str, Any]:
    """Predict every example once and measure."""
    examples, subject = bench.examples(), bench.subject
    config, count = bench.model.config, len(examples.test)
    # warm up before timing starts
    answer(bench, examples.at(slice(4)), dataclasses.replace(options.predict, supervision_steps=1))
    memory = PeakMemory(subject.device)
    with bench.progress("efficiency", bench.flops(examples, config, options.supervision_steps)):
        found, spent = answer(bench, examples, options.predict)
    peak = memory.peak()
    rate = (subject.gemm_gflops + gemm_gflops(subject.device)) / 2  # before and after: shared machines drift
    hits = vote_hits(found.key, found.halting, bench.starts, bench.truths)[:, 1]
    solved = int(np.minimum.reduceat(hits, np.unique(bench.task, return_index=True)[1]).sum())
    judge = Judge(bench, np.random.default_rng(options.seed))
    canvases = bench.canvases_of(examples)
    return {
        "examples": count,
        "seconds": spent.seconds,
        "cpu_seconds": spent.cpu_seconds,
        "gemm_gflops": rate,
        "examples_per_second": count / spent.seconds,
        "supervision_steps_per_example": spent.steps / count,
        "cells_per_canvas": float(canvases.prod(axis=1).mean()),
        "peak_memory_bytes": peak,
        "peak_memory_above_start_bytes": max(0, peak - memory.at_first),
        "memory_is": memory.how,
        "gemm_gflop_per_example": spent.seconds * rate / count,
        "gflop_per_example": spent.flops / count / 1e9,
        "share_of_gemm_rate": spent.flops / 1e9 / spent.seconds / rate,
        "canonical": judge.canonical(found.right),
        "pass@2": judge(hits),
        "outputs_solved": int(hits.sum()),
        "tasks_solved": solved,
        "flop_in_all": spent.flops,
        "flop_per_solved_task": spent.flops / solved if solved else None,
        "flop_per_solved_output": spent.flops / float(hits.sum()) if hits.any() else None,
        "gemm_gflop_per_solved_task": spent.seconds * rate / solved if solved else None,
    }


class PeakMemory:
    """Peak memory in bytes since construction: of the whole process on a CPU, of torch's allocations on a card."""

    def __init__(self, device: torch.device) -> None:
        self._device, self.how = device, "torch.cuda.max_memory_allocated"
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.at_first = torch.cuda.memory_allocated(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the high-water mark
            self.at_first, self.how = _status("VmRSS"), "resident memory of the process, high-water mark of this part"
        except (OSError, ValueError):
            self.at_first, self.how = self.peak(), "resident memory of the process, the most since it began"

    def peak(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        if self.how.endswith("part"):
            return _status("VmHWM")
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux KiB


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(name)
    return int(found[1]) * 1024
