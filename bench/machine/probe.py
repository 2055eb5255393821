"""The short-lived process that probes the device, so that its parent never touches CUDA."""

import json
import re
from contextlib import suppress
from dataclasses import asdict, replace

from bench.machine.environment import Probe
from bench.process import exit_without_teardown
from pipelines.compiling import compiler_problem


def probe_here() -> Probe:
    """Tries the device in this process."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Probe(cuda_problem=f"torch cannot be imported: {error}")
    software = Probe(torch=str(torch.__version__), torch_cuda=torch.version.cuda or "")
    try:
        torch.ones(8, device="cuda").sum().item()
    except (RuntimeError, AssertionError) as error:
        problem = " ".join(str(error).split()).split(". ")[0]
        return _with_compiler(_with_gpu(replace(software, cuda_problem=problem)))
    properties = torch.cuda.get_device_properties(0)
    usable = replace(
        software,
        cuda=True,
        gpu=properties.name,
        capability=f"{properties.major}.{properties.minor}",
        memory_gib=round(properties.total_memory / 2**30, 2),
        bf16=torch.cuda.is_bf16_supported(including_emulation=False),
    )
    return _with_compiler(usable)


def _with_gpu(probe: Probe) -> Probe:
    """Adds torch's information about a GPU that it cannot use."""
    import torch

    with suppress(RuntimeError, AssertionError):
        if torch.cuda.is_available():
            properties = torch.cuda.get_device_properties(0)
            names = re.findall(r"sm_(\d+)(\d)", " ".join(torch.cuda.get_arch_list()))
            return replace(
                probe,
                gpu=properties.name,
                capability=f"{properties.major}.{properties.minor}",
                built_for=" ".join(f"{major}.{minor}" for major, minor in names),
            )
    return probe


def _with_compiler(probe: Probe) -> Probe:
    problem = compiler_problem(gpu=probe.cuda)
    return replace(probe, compiler=not problem, compiler_problem=problem)


if __name__ == "__main__":
    exit_without_teardown(lambda: print(json.dumps(asdict(probe_here()))))
