"""Convert the published weights of ResNet38, an MXNet file, to safetensors: once, before the first training with them.

    python docs/convert_resnet38.py ilsvrc-cls_rna-a1_cls1000_ep-0001.params resnet38.safetensors

MXNet is not needed. The 1000-way classifier is left out. Names become those of `wsss/nets/resnet38.py`.
"""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

LIST_MAGIC = 0x112
ARRAY_V1, ARRAY_V2 = 0xF993FAC8, 0xF993FAC9
"""MXNet's marks of arrays with 64-bit shapes; V2 also has a storage type.

Older arrays begin with their number of axes.
"""
STATISTICS = {"beta": "bias", "gamma": "weight", "mean": "running_mean", "var": "running_var"}
"""MXNet's names of a BatchNorm layer's tensors, and torch's."""


class Values:
    """Little-endian values of a file, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple:
        """The next values of a struct format."""
        values = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def array(self) -> np.ndarray:
        """The next array, float32."""
        shape = self._shape()
        *_, kind = self.take("iii")  # device type, device, type of the values
        if kind != 0:
            raise ValueError(f"an array is of type {kind}, expected 0 (float32)")
        found = np.frombuffer(self.data, "<f4", math.prod(shape), self.at).reshape(shape)
        self.at += found.nbytes
        return found

    def _shape(self) -> tuple[int, ...]:
        (first,) = self.take("I")
        if first not in (ARRAY_V1, ARRAY_V2):
            return self.take(f"{first}I")
        if first == ARRAY_V2 and self.take("i") != (0,):
            raise ValueError("an array is sparse, expected dense ones")
        return self.take(f"{self.take('I')[0]}q")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays of an MXNet file by MXNet's names."""
    values = Values(path.read_bytes())
    magic, _, count = values.take("QQQ")
    if magic != LIST_MAGIC:
        raise ValueError(f"it begins with {magic:#x}, expected {LIST_MAGIC:#x}")
    arrays = [values.array() for _ in range(count)]
    (count,) = values.take("Q")
    names = [values.take(f"{values.take('Q')[0]}s")[0].decode() for _ in range(count)]
    return dict(zip(names, arrays, strict=True))


def name_of(key: str) -> str:
    """arg:res3b1_branch2a_weight to b3_1.conv_branch2a.weight, aux:bn7_moving_var to bn7.running_var."""
    parts = key.split(":")[-1].split("_")
    if parts[0] == "conv1a":
        return "conv1a.weight"
    if parts[0] == "bn7":
        return f"bn7.{STATISTICS[parts[-1]]}"
    kind = "conv" if parts[0].startswith("res") else "bn"
    place = parts[0].removeprefix("res").removeprefix("bn")
    block = f"b{place[0]}" + (f"_{place[2:]}" if place[1] == "b" else "")
    return f"{block}.{kind}_{parts[1]}.{'weight' if kind == 'conv' else STATISTICS[parts[-1]]}"


def convert(source: Path, target: Path) -> None:
    """Write the weights of `source` to `target`."""
    try:
        arrays = {name_of(key): array for key, array in read_arrays(source).items() if "linear1000" not in key}
    except (struct.error, ValueError, KeyError, IndexError) as error:
        sys.exit(f"{source}: not an MXNet parameter file, or cut short ({error}); fetch it again")
    save_file(arrays, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python docs/convert_resnet38.py SOURCE.params TARGET.safetensors")
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
