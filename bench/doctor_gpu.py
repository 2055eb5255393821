"""What the doctor says of torch, the GPU and its driver."""

import os
import re
from dataclasses import dataclass

from bench import environment
from bench.commands import ask
from bench.doctor_base import Check
from bench.environment import Probe

TORCH_NEEDED = (2, 11)
AGAIN = "pip install --force-reinstall torch torchvision"
WHEELS = {12: "cu126"}  # a torch for drivers of an older CUDA, which this version of it still has
HIDDEN = ("", "-1")
NO_GPU = "No devices were found"
PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Smi:
    """What nvidia-smi says of the first visible GPU.

    Args:
        gpu: Its name; "" if it says none.
        driver: Version of the driver.
        cuda: CUDA version up to which the driver serves; "" if it does not say so.
        problem: Why it says nothing; "" if it does.
        missing: Whether there is no nvidia-smi.
    """

    gpu: str = ""
    driver: str = ""
    cuda: str = ""
    problem: str = ""
    missing: bool = False


def look() -> Smi:
    """Asks nvidia-smi; once, where it hangs."""
    said = ask(environment.nvidia_smi_command("name,driver_version"), timeout_s=PATIENCE_S)
    if said.problem:
        return Smi(problem=said.problem, missing=said.missing)
    name, comma, driver = said.text.rpartition(", ")
    if not comma or not said.text.isprintable() or len(said.text) > environment.LONGEST_FIELD:
        return Smi(problem=f"nvidia-smi prints {said.text[:60]!r}, which names no GPU")
    cuda = re.search(r"CUDA Version:\s*(\d+\.\d+)", ask(["nvidia-smi"], timeout_s=PATIENCE_S).text)
    return Smi(gpu=name, driver=driver, cuda=cuda[1] if cuda else "")


def torch(probe: Probe) -> Check:
    """Whether torch can be imported, is new enough, and which CUDA it was built for."""
    advice = f"pip install 'torch>={'.'.join(map(str, TORCH_NEEDED))}'"
    if not probe.torch:
        return Check(name="torch", status="fail", message=probe.cuda_problem, advice=advice)
    if numbers(probe.torch) < TORCH_NEEDED:
        message = f"{probe.torch} is too old, 2.11 is needed"
        return Check(name="torch", status="fail", message=message, advice=advice)
    built = f"built for CUDA {probe.torch_cuda}" if probe.torch_cuda else "built without CUDA"
    return Check(name="torch", status="ok", message=f"{probe.torch}, {built}")


def gpu(probe: Probe, smi: Smi) -> Check:
    """Whether a kernel runs on the GPU, and if not, which of the usual reasons it is."""
    if probe.cuda:
        message = (
            f"{probe.gpu}, {probe.memory_gib} GiB, capability {probe.capability}, "
            f"bf16 {'yes' if probe.bf16 else 'no'}"
        )
        return Check(name="gpu", status="ok", message=message)
    seen = smi.gpu or probe.gpu
    if seen:
        message = f"{seen} cannot be used: {probe.cuda_problem}"
        return Check(name="gpu", status="fail", message=message, advice=_gpu_advice(probe, smi))
    if smi.missing:
        message = "no NVIDIA GPU or no driver: runs use the CPU at scale 'cpu'"
        advice = "install the NVIDIA driver if this machine has a GPU"
        return Check(name="gpu", status="warn", message=message, advice=advice)
    nothing = NO_GPU in smi.problem  # runs use the CPU, and nothing is broken
    return Check(
        name="gpu",
        status="warn" if nothing else "fail",
        message=smi.problem,
        advice=_smi_advice(smi),
    )


def _gpu_advice(probe: Probe, smi: Smi) -> str:
    problem = probe.cuda_problem.lower()
    if not probe.torch_cuda:
        return f"this torch is built for CPUs: {AGAIN}"
    if "no kernel image" in problem or "not compatible" in problem:
        return _kernel_advice(probe)
    if os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN:
        return "CUDA_VISIBLE_DEVICES hides it: unset CUDA_VISIBLE_DEVICES"
    if "too old" in problem or "insufficient" in problem:
        return _driver_advice(smi.cuda)
    if "out of memory" in problem or "busy or unavailable" in problem:
        return "another process holds it: nvidia-smi shows which; stop it, or wait"
    if "not yet initialized" in problem:
        return "the NVSwitches are not up: systemctl start nvidia-fabricmanager"
    return "see what the driver wrote: dmesg | grep -i nvrm; rebooting often mends it"


def _kernel_advice(probe: Probe) -> str:
    """For a GPU that this torch has no code for."""
    built = [numbers(version) for version in probe.built_for.split()]
    if probe.capability and built and numbers(probe.capability) > max(built):
        return (
            f"capability {probe.capability} is newer than this torch, which has code for "
            f"{probe.built_for}: pip install --upgrade torch torchvision"
        )
    older = next(iter(WHEELS.values()))
    return f"this torch has no code for a GPU this old: {_from_index(older)}"


def _smi_advice(smi: Smi) -> str:
    if NO_GPU in smi.problem and os.environ.get("CUDA_VISIBLE_DEVICES"):
        return "CUDA_VISIBLE_DEVICES names a GPU that is not there: unset CUDA_VISIBLE_DEVICES"
    if NO_GPU in smi.problem:
        return "the driver sees no GPU; a container must be given it: docker run --gpus all"
    if "hangs" in smi.problem:
        return "the driver does not answer: reboot"
    if "mismatch" in smi.problem:
        return "the driver was updated under a module that is still loaded: reboot"
    if "communicate" in smi.problem:
        return "the driver's module is not loaded: modprobe nvidia; if that fails, install it anew"
    return "see which nvidia-smi this is, and install the driver's: type -a nvidia-smi"


def driver(probe: Probe, smi: Smi) -> Check | None:
    """Whether the driver is new enough for torch's CUDA; newer is always fine."""
    if not smi.driver:
        if not probe.cuda or not smi.problem:
            return None
        message = f"{smi.problem}; what else runs on the GPU cannot be seen"
        advice = "install the driver's nvidia-smi" if smi.missing else _smi_advice(smi)
        return Check(name="driver", status="warn", message=message, advice=advice)
    if not smi.cuda or not probe.torch_cuda:
        return Check(name="driver", status="ok", message=smi.driver)
    if numbers(smi.cuda)[0] >= numbers(probe.torch_cuda)[0]:
        return Check(name="driver", status="ok", message=f"{smi.driver}, for CUDA up to {smi.cuda}")
    message = f"{smi.driver} serves CUDA up to {smi.cuda}, torch was built for {probe.torch_cuda}"
    return Check(name="driver", status="fail", message=message, advice=_driver_advice(smi.cuda))


def _driver_advice(able: str) -> str:
    wheel = WHEELS.get(numbers(able)[0]) if able else None
    if wheel is None:
        return "update the driver: see nvidia.com/drivers"
    return f"update the driver, or take a torch for CUDA {numbers(able)[0]}: {_from_index(wheel)}"


def _from_index(wheel: str) -> str:
    return f"{AGAIN} --index-url https://download.pytorch.org/whl/{wheel}"


def neighbours(probe: Probe, smi: Smi) -> Check | None:
    """Whether other processes hold the GPU; they would spoil every time."""
    if not probe.cuda or smi.problem:
        return None
    fields = "--query-compute-apps=pid,process_name,used_memory"
    said = ask(["nvidia-smi", fields, "--format=csv,noheader"], timeout_s=PATIENCE_S)
    if said.problem:
        advice = _smi_advice(Smi(problem=said.problem))
        return Check(name="gpu use", status="warn", message=said.problem, advice=advice)
    if not said.text:
        return Check(name="gpu use", status="ok", message="no other process on the GPU")
    message = f"other processes on the GPU: {'; '.join(said.text.splitlines())}"
    advice = "wait for them or stop them: their work spoils the times"
    return Check(name="gpu use", status="warn", message=message, advice=advice)


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:2])


__all__ = ["Smi", "driver", "gpu", "look", "neighbours", "numbers", "torch"]
