"""What devices can compute at most, as their makers publish it, to say how much of that a training uses."""

from __future__ import annotations

# Operations a second of matrix products without sparsity, by the beginning of `device_kind`, longer ones first:
# in bfloat16 (float16 where there is no bfloat16), and in what XLA computes float32 products in by default: TF32 from
# Ampere on, float32 before, bfloat16 on a TPU. A device of JAX is a TPU's core up to v3, else a chip.
# NVIDIA: the data sheets of V100, T4, A100, A10, L4, L40S, H100 and H200 (SXM unless PCIe is said; where a sheet gives
# figures with sparsity, half of them), and of HGX B200 (a device is an eighth). Google: cloud.google.com/tpu/docs, a
# page a version.
_PEAKS = {
    "NVIDIA B200": (2250e12, 1125e12),
    "NVIDIA H200": (989e12, 494e12),
    "NVIDIA H100 PCIe": (756e12, 378e12),
    "NVIDIA H100": (989e12, 494e12),
    "NVIDIA A100": (312e12, 156e12),
    "NVIDIA A10G": (70e12, 35e12),
    "NVIDIA A10": (125e12, 62.5e12),
    "NVIDIA L40S": (362e12, 183e12),
    "NVIDIA L4": (121e12, 60e12),
    "Tesla V100": (125e12, 15.7e12),
    "Tesla T4": (65e12, 8.1e12),
    "TPU v6": (918e12, 918e12),
    "TPU v5 lite": (197e12, 197e12),
    "TPU v5e": (197e12, 197e12),
    "TPU v5": (459e12, 459e12),
    "TPU v4": (275e12, 275e12),
    "TPU v3": (61.5e12, 61.5e12),
    "TPU v2": (22.5e12, 22.5e12),
}
_HALVES = ("bfloat16", "float16")


def peak_flops(device_kind: str, dtype: str | None) -> float | None:
    """Return the operations a second that a device can do at most in a type of number; None where nobody says it.

    Args:
        device_kind: as JAX names it; `NVIDIA L40` is no `NVIDIA L4`.
    """
    if dtype not in (*_HALVES, "float32"):
        return None
    for name, (half, single) in _PEAKS.items():
        rest = device_kind.removeprefix(name)
        if (rest != device_kind and not rest[:1].isalnum()) or device_kind == name:
            return half if dtype in _HALVES else single
    return None
