"""GPUs, their driver, and whether the installed PyTorch was built for them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fye_model.processes import usable_cpus
from tasks.doctor.check import Check

_QUERY = "name,driver_version,compute_cap,memory.total,memory.used"
_ASK_S = 10.0  # in which a driver that works answers
_CUDA_BUILD = "install a CUDA build of the same version: pip install torch==VERSION --index-url {index}"
_INDEX = "https://download.pytorch.org/whl/cu128 (or the one that suits your driver)"


@dataclass(frozen=True)
class Card:
    """A GPU as its driver tells of it. capability: `9.0`."""

    name: str
    driver: str
    capability: str
    total_mib: int
    used_mib: int


def cards() -> list[Card]:
    """The cards that NVIDIA's driver knows, none without a driver. Raises RuntimeError where it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    words = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_ASK_S)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"nvidia-smi has not answered for {_ASK_S:.0f} s") from error
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[0] if done.stdout + done.stderr else "?")
    rows = [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    return [Card(row[0], row[1], row[2], _number(row[3]), _number(row[4])) for row in rows]


def card_checks() -> Iterator[Check]:
    """The cards, and PyTorch's build for each."""
    import torch

    built = torch.version.cuda
    kind = f"PyTorch {torch.__version__}, built for {f'CUDA {built}' if built else 'the CPU'}"
    try:
        found = cards()
    except RuntimeError as error:
        fix = "install or restart the driver; until then --device cpu"
        yield Check(name="GPU", state="bad", found=f"the driver does not work: {error}", fix=fix)
        return
    if not found:
        yield Check(name="GPU", state="ok", found=f"none; runs compute on {usable_cpus()} CPUs")
        yield Check(name="PyTorch", state="ok", found=kind)
        return
    for number, card in enumerate(found):
        free = card.total_mib - card.used_mib
        told = f"{number}: {card.name}, driver {card.driver}, {free / 1024:.0f} of {card.total_mib / 1024:.0f} GiB free"
        busy = free < card.total_mib / 2
        fix = "another program is on it: runs may end for want of memory" if busy else ""
        yield Check(name="GPU", state="warn" if busy else "ok", found=told, fix=fix)
    if built is None:
        fix = _CUDA_BUILD.format(index=_INDEX)
        yield Check(name="PyTorch", state="warn", found=f"{kind}, while there is a card: it stays unused", fix=fix)
    elif not torch.cuda.is_available():
        told = f"{kind}, which cannot use driver {found[0].driver}"
        fix = "a newer driver, or a PyTorch built for an older CUDA; is CUDA_VISIBLE_DEVICES set to nothing?"
        yield Check(name="PyTorch", state="bad", found=told, fix=fix)
    else:
        yield _build_check(kind)


def _build_check(kind: str) -> Check:
    """Whether PyTorch has kernels for each card, and computes on it."""
    import torch

    architectures = torch.cuda.get_arch_list()
    for number in range(torch.cuda.device_count()):
        name, capability = torch.cuda.get_device_name(number), torch.cuda.get_device_capability(number)
        if not has_kernels(capability, architectures):
            told = f"{kind}, has no kernels for {name} (sm_{capability[0]}{capability[1]})"
            return Check(name="PyTorch", state="bad", found=told, fix=_CUDA_BUILD.format(index=_INDEX))
        try:
            float(torch.ones(8, device=f"cuda:{number}").sum())
        except RuntimeError as error:
            told = f"{kind}, does not compute on {name}: {str(error).splitlines()[0]}"
            return Check(name="PyTorch", state="bad", found=told, fix="see nvidia-smi and dmesg for the card's state")
    return Check(name="PyTorch", state="ok", found=f"{kind}, computes on {torch.cuda.device_count()}")


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether code for one of these (`sm_90`, `compute_90`) runs on a card of this capability.

    Machine code runs on later minor versions of its major one; `compute_` is translated for any later card.
    """
    for name in architectures:
        kind, _, digits = name.partition("_")
        number = int("".join(filter(str.isdigit, digits)))
        major, minor = divmod(number, 10)
        if kind == "compute" and (major, minor) <= capability:
            return True
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
    return False


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0  # "[N/A]" on cards that share the machine's memory
