"""Bit layouts of OpenVINO's sub-byte element types, as its `Convert` reads them (measured with OpenVINO 2026.4.1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def pack(codes: Bytes, bits: int) -> Bytes:
    """Pack codes of 1, 2, 3 or 4 bits.

    u1: most significant bit first. u2, u4: least significant bits first. u3: groups of 8 codes in 3 bytes; byte 0 holds
    the low two bits of codes 0-3 and byte 1 those of codes 4-7, the first code in the highest bits; byte 2 holds the
    third bit of code ``i`` in bit ``7 - i``.

    Args:
        codes: uint8 array of any shape, each below ``2**bits``.
        bits: 1, 2, 3 or 4.

    Returns:
        uint8 array ``[nncf_slb.search.values.packed_size(codes.size, bits)]``; unused bits are zero.

    Raises:
        ValueError: If `bits` is not 1-4 or a code does not fit.
    """
    if bits not in (1, 2, 3, 4):
        raise ValueError(f"bits: received {bits}; allowed are 1 to 4")
    flat = np.ascontiguousarray(codes, dtype=np.uint8).ravel()
    if flat.size and int(flat.max()) >= 2**bits:
        raise ValueError(f"codes: received {int(flat.max())}; with {bits} bits the largest is {2**bits - 1}")
    if bits == 1:
        packed: Bytes = np.packbits(flat, bitorder="big")
        return packed
    if bits == 3:
        return _pack_three(flat)
    per_byte = 8 // bits
    padded = _padded(flat, per_byte).reshape(-1, per_byte)
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(bits)
    joined: Bytes = np.bitwise_or.reduce(padded << shifts, axis=1).astype(np.uint8)
    return joined


def _pack_three(flat: Bytes) -> Bytes:
    groups = _padded(flat, 8).reshape(-1, 8)
    low, high = groups & 3, groups >> 2
    shifts = np.array([6, 4, 2, 0], dtype=np.uint8)
    first = np.bitwise_or.reduce(low[:, :4] << shifts, axis=1)
    second = np.bitwise_or.reduce(low[:, 4:] << shifts, axis=1)
    third = np.packbits(high, axis=1, bitorder="big")[:, 0]
    return np.stack([first, second, third], axis=1).astype(np.uint8).ravel()


def _padded(flat: Bytes, multiple: int) -> Bytes:
    return np.pad(flat, (0, -flat.size % multiple))
