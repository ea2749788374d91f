"""Kernels are tried before they are used, and what is left out is said in one line with the reason."""

from __future__ import annotations

import logging
from types import ModuleType

import pytest
import torch

from fye_model.fast.blocks import paired
from fye_model.fast.kernels import (
    elementwise,
    feed_forward,
    frame_attention,
    gated,
    group_norm,
    pixel_attention,
    trial,
)
from fye_model.fast.report import FastReport, Part

CPU = torch.device("cpu")


def _norm(sources, weight, bias, added, groups, eps, silu):
    rows = torch.cat(sources, -1).mT
    return group_norm.reference(rows, weight, bias, groups, eps, silu, added).mT


def _gate(rows, weight, bias, out):
    out.copy_(gated.reference(rows, weight, bias))


def _beside(x, added, bias, norm, inner):
    y = x + added + bias
    one = torch.nn.functional.pad(torch.ones(len(x), 1), (0, feed_forward._PAD - 1))
    return torch.cat([y, torch.empty(len(x), inner), one], 1), norm(y)


# Each kernel file, what launches its kernel, what that should do, and the sizes that it is tried for.
KERNELS = [
    (pixel_attention, "_launch", pixel_attention.reference, (2, 40, False)),
    (pixel_attention, "_launch", pixel_attention.reference, (2, 40, True)),
    (frame_attention, "_launch", frame_attention.reference, (2, 40)),
    (group_norm, "_launch", _norm, ()),
    (elementwise, "_launch_sum", elementwise.reference_sum, ()),
    (elementwise, "_launch_interleave", elementwise.reference_interleave, ()),
    (gated, "launch_gated", _gate, (64, 128)),
    (feed_forward, "_beside", _beside, (64, 128)),
]


@pytest.mark.parametrize(("file", "name", "right", "sizes"), KERNELS)
@pytest.mark.parametrize(("fault", "complaint"), [(None, ""), ("wrong", "is off by"), ("fails", "failed: no such")])
@torch.no_grad()
def test_a_kernel_that_fails_or_is_wrong_is_left_out_with_a_warning(
    file: ModuleType, name: str, right, sizes: tuple, fault: str | None, complaint: str, monkeypatch, caplog
) -> None:
    def kernel(*inputs):
        if fault == "fails":
            raise RuntimeError("no such instruction")
        if fault == "wrong":
            inputs = [1.1 * x if isinstance(x, torch.Tensor) and i == 0 else x for i, x in enumerate(inputs)]
            inputs[0] = [1.0 - x for x in inputs[0]] if isinstance(inputs[0], list) else inputs[0]
        return right(*inputs)

    # The other kernels of a file are its references, so that the one under test alone decides.
    for other, launcher, does, _ in KERNELS:
        monkeypatch.setattr(other, launcher, does)
    monkeypatch.setattr(file, name, kernel)
    reason = file._try(CPU, torch.float32, *sizes)
    assert bool(reason) is bool(complaint) and complaint in (reason or "")
    assert complaint in caplog.text and bool(complaint) is bool(caplog.text)


@pytest.mark.parametrize(
    ("capability", "dtype", "sizes", "reason"),
    [
        ((8, 0), torch.float16, (64, 128), "sm_80, needs sm_90"),
        ((9, 0), torch.float16, (60, 128), "60 to 128 channels, needs multiples of 64 and 128"),
        ((9, 0), torch.float32, (64, 128), "float32, needs float16 or bfloat16"),
    ],
)
def test_what_a_kernel_needs_is_said(capability, dtype, sizes, reason: str, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(gated, "triton", object())
    for file in (gated, feed_forward):
        file.unsupported.cache_clear()
        assert file.unsupported(torch.device("cuda"), dtype, *sizes) == reason
        file.unsupported.cache_clear()
    assert trial.missing(CPU, torch.float16, None) == "on cpu, needs a CUDA GPU"


def test_frames_that_tiles_do_not_divide_are_left_to_pytorch() -> None:
    assert pixel_attention.unfit(144, 40) == "144 pixels, needs a multiple of 128"
    assert pixel_attention.unfit(4096, 40) is pixel_attention.unfit(64, 80) is None


def test_a_report_is_one_line_with_every_part_and_reason() -> None:
    old = "sm_80, needs sm_90"
    parts = Part("group norm", None, True), Part("attention", old, True), Part("GEGLU", old, True), Part("graphs", "no")
    report = FastReport(parts)
    assert str(report) == f"fast path: group norm; attention, GEGLU left to PyTorch: {old}; graphs off: no"
    assert report.on == ("group norm",) and report.off == {"attention": old, "GEGLU": old, "graphs": "no"}


def test_enabling_returns_the_report_and_logs_it_once(build_pipe, caplog) -> None:
    pipe = build_pipe()
    with caplog.at_level(logging.INFO, "fye_model.fast"):
        report = pipe.enable_fast_path()
    assert [record.getMessage() for record in caplog.records] == [str(report)]
    blocks = len(pipe._fast._networks[0].blocks) + len(pipe._fast._networks[1].blocks)
    assert str(report) == (
        f"fast path: {blocks} blocks rearranged; "
        "group norm, elementwise, attention over pixels, attention over frames, GEGLU left to PyTorch: on cpu, needs a "
        "CUDA GPU; recorded calls off: on cpu, needs a CUDA GPU; compiled blocks off: not asked for"
    )


def test_paired_rows_alternate_values_and_gates() -> None:
    assert paired(torch.arange(6)).tolist() == [0, 3, 1, 4, 2, 5]
