"""A landmark model for machines that reach a package registry but not MediaPipe's own server.

The mediapipe 0.10.21 wheel carries a face detector and the attention mesh. The Tasks API wants one output of 478
points and the mesh has six partial ones, so the merge that the older FaceMesh did in its graph is appended to the
model itself: refined lips and eyes replace x and y of their mesh points, irises are added, an iris' depth is the mean
depth of its eye's contour. The bundle has no face geometry and no blendshapes, and its points differ from the usual
model's by 1.6% of the interocular distance: never mix the two in one data set.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fye_model.files import whole_file

WHEEL = "mediapipe==0.10.21"
# the models inside are the same in every wheel; this one is asked for whatever Python and system we run on
_WHEEL_TAGS = ("--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux_2_28_x86_64")
DETECTOR_SHA256 = "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"
MESH_SHA256 = "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4"
MODEL_ID = f"attention_mesh:{MESH_SHA256[:8]}"
_DETECTOR = "mediapipe/modules/face_detection/face_detection_short_range.tflite"
_MESH = "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite"

# Which mesh point each refined point replaces, in the order of the model's outputs (lips outside in, eyes inside out).
_LIPS = (
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
_LEFT_CONTOUR = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
_RIGHT_CONTOUR = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
_LEFT_EYE = (
    *_LEFT_CONTOUR,
    *(130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190),
    *(226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
    *(35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193),
)
_RIGHT_EYE = (
    *_RIGHT_CONTOUR,
    *(359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414),
    *(446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413),
    *(
        265,
        353,
        276,
        283,
        282,
        295,
        372,
        340,
        346,
        347,
        348,
        349,
        350,
        357,
        465,
        383,
        300,
        293,
        334,
        296,
        336,
        285,
        417,
    ),
)
_MESH_POINTS = 468
# (output of the mesh model, points that it refines); irises are the last ten of the 478
_PARTS = (
    ("output_lips", _LIPS),
    ("output_left_eye", _LEFT_EYE),
    ("output_right_eye", _RIGHT_EYE),
    ("output_left_iris", tuple(range(468, 473))),
    ("output_right_iris", tuple(range(473, 478))),
)


def build_fallback(path: Path, timeout_s: float = 600.0) -> None:
    """Downloads the wheel (about 36 MB, nothing is installed) and writes the bundle to `path`.

    Raises RuntimeError when pip cannot get it, ValueError when its content is not the expected one.
    """
    with tempfile.TemporaryDirectory(prefix="fye-wheel-") as folder:
        wheel = download_wheel(Path(folder), timeout_s)
        with zipfile.ZipFile(wheel) as archive:
            detector, mesh = archive.read(_DETECTOR), archive.read(_MESH)
    for name, data, expected in ((_DETECTOR, detector, DETECTOR_SHA256), (_MESH, mesh, MESH_SHA256)):
        found = hashlib.sha256(data).hexdigest()
        if found != expected:
            raise ValueError(f"{name} in the {WHEEL} wheel has sha256 {found}, expected {expected}")
    write_bundle({"face_detector.tflite": detector, "face_landmarks_detector.tflite": merge_outputs(mesh)}, path)


def is_fallback(path: Path) -> bool:
    """Whether `path` is a whole bundle that `build_fallback` has written."""
    try:
        with zipfile.ZipFile(path) as bundle:
            detector = hashlib.sha256(bundle.read("face_detector.tflite")).hexdigest()
            return detector == DETECTOR_SHA256 and bundle.testzip() is None
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


def download_wheel(folder: Path, timeout_s: float) -> Path:
    """Fetches the wheel into `folder` with this Python's pip and its configured index."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *_WHEEL_TAGS]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), WHEEL]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"pip download {WHEEL} took longer than {timeout_s:.0f} s") from None
    wheels = sorted(folder.glob("mediapipe-*.whl"))
    if done.returncode != 0 or not wheels:
        lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("WARNING")]
        raise RuntimeError(f"pip download {WHEEL} failed: {' '.join(lines[-2:]) or f'exit code {done.returncode}'}")
    return wheels[0]


def merge_outputs(mesh: bytes) -> bytes:
    """The attention mesh with its outputs merged into (1, 1, 1, 478 * 3) points, followed by the presence logit."""
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(mesh, 0))
    graph = model.subgraphs[0]
    outputs = {graph.tensors[i].name.decode(): int(i) for i in graph.outputs}

    def tensor(name: str, shape: list[int], kind: int, data: np.ndarray | None = None) -> int:
        new = schema.TensorT()
        new.name, new.shape, new.type, new.buffer = name, shape, kind, 0  # buffer 0 is the empty one
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.astype("<i4").tobytes(), np.uint8)
            model.buffers.append(buffer)
            new.buffer = len(model.buffers) - 1
        graph.tensors.append(new)
        return len(graph.tensors) - 1

    def operator(kind: str, inputs: list[int], length: int, options: Any) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        model.operatorCodes.append(code)
        new = schema.OperatorT()
        new.opcodeIndex = len(model.operatorCodes) - 1
        output = tensor(f"merged_{len(graph.tensors)}", [1, 1, 1, length], schema.TensorType.FLOAT32)
        new.inputs, new.outputs = inputs, [output]
        new.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        new.builtinOptions = options
        graph.operators.append(new)
        return output

    def gather(source: int, indices: np.ndarray) -> int:
        options = schema.GatherOptionsT()
        options.axis = 3
        table = tensor(f"indices_{len(graph.tensors)}", [indices.size], schema.TensorType.INT32, indices)
        return operator("GATHER", [source, table], indices.size, options)

    def mean_depth(contour: tuple[int, ...]) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        depths = gather(outputs["output_mesh_identity"], 3 * np.array(contour) + 2)
        axis = tensor(f"axis_{len(graph.tensors)}", [1], schema.TensorType.INT32, np.array([3]))
        return operator("MEAN", [depths, axis], 1, options)

    sources = [outputs["output_mesh_identity"], *(outputs[name] for name, _ in _PARTS)]
    sources += [mean_depth(_LEFT_CONTOUR), mean_depth(_RIGHT_CONTOUR)]
    indices, length = merged_indices()
    joined = schema.ConcatenationOptionsT()
    joined.axis = 3
    points = gather(operator("CONCATENATION", sources, length, joined), indices)
    graph.outputs = [points, outputs["conv_faceflag"]]
    _describe_outputs(model)
    return _pack(model, b"TFL3")


def merged_indices() -> tuple[np.ndarray, int]:
    """Where each of the 478 * 3 merged values lies in mesh ++ parts ++ left iris depth ++ right iris depth."""
    table = np.full((478, 3), -1)
    table[:_MESH_POINTS] = np.arange(3 * _MESH_POINTS).reshape(-1, 3)
    start = 3 * _MESH_POINTS
    for _, points in _PARTS:
        table[list(points), :2] = start + np.arange(2 * len(points)).reshape(-1, 2)
        start += 2 * len(points)
    table[468:473, 2], table[473:478, 2] = start, start + 1
    assert table.min() >= 0
    return table.reshape(-1), start + 2


def _describe_outputs(model: Any) -> None:
    """The model's metadata must describe as many outputs as there are; the input's normalisation in it is needed."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    entry = next(entry for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    packed = bytes(model.buffers[entry.buffer].data)
    metadata = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAs(packed, 0))
    described = []
    for name in ("face_landmarks", "presence"):
        tensor = schema.TensorMetadataT()
        tensor.name = name
        described.append(tensor)
    metadata.subgraphMetadata[0].outputTensorMetadata = described
    model.buffers[entry.buffer].data = np.frombuffer(_pack(metadata, b"M001"), np.uint8)


def _pack(root: Any, identifier: bytes) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 22)
    builder.Finish(root.Pack(builder), file_identifier=identifier)
    return bytes(builder.Output())


def write_bundle(parts: dict[str, bytes], path: Path) -> None:
    """Writes a .task bundle: an uncompressed zip with aligned members, byte-identical for equal parts, atomically."""
    from mediapipe.tasks.python.metadata.metadata_writers.model_asset_bundle_utils import AlignZipFile

    with whole_file(path) as temporary, AlignZipFile(temporary, mode="w", alignment=4) as bundle:
        for name, data in parts.items():
            bundle.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
