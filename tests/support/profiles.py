"""ICC profiles made by hand, byte by byte, and their colours in sRGB computed by NumPy alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
D65_XY, D50_XY = (0.3127, 0.3290), (0.3457, 0.3585)

# Primaries (red, green, blue), white, gamma; None stands for sRGB's own curve.
SPACES = {
    "sRGB": (((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65_XY, None),
    "Display P3": (((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)), D65_XY, None),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65_XY, 563 / 256),
    "ProPhoto": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50_XY, 1.8),
    "BT.2020": (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), D65_XY, 2.4),
}
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def to_xyz_d50(primaries: Sequence[tuple[float, float]], white: tuple[float, float]) -> np.ndarray:
    """The matrix from linear RGB to XYZ, adapted to D50 as in profiles."""

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    columns = np.array([xyz(*each) for each in primaries]).T
    matrix = columns @ np.diag(np.linalg.inv(columns) @ xyz(*white))
    cones = (BRADFORD @ D50) / (BRADFORD @ xyz(*white))
    return np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ matrix


def light_of(values: np.ndarray, gamma: float | None) -> np.ndarray:
    if gamma is not None:
        return values**gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def in_srgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """8-bit pixels of one of `SPACES`, shape (…, 3), as sRGB has them; not rounded."""
    primaries, white, gamma = SPACES[name]
    light = light_of(pixels / 255, gamma) @ to_xyz_d50(primaries, white).T
    srgb = np.linalg.inv(to_xyz_d50(*SPACES["sRGB"][:2]))
    return encoded_srgb(light @ srgb.T)


def encoded_srgb(light: np.ndarray) -> np.ndarray:
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def curve(gamma: float | None) -> bytes:
    if gamma is not None:
        return b"para\0\0\0\0\0\0\0\0" + fixed(gamma)
    return b"para\0\0\0\0\0\3\0\0" + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """A display profile of version 4 of a colour space (b"RGB ", b"GRAY", b"CMYK")."""
    text = "by hand".encode("utf-16-be")
    text = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags = {b"desc": text, b"cprt": text, b"wtpt": b"XYZ \0\0\0\0" + fixed(*D50), **tags}
    body, table = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x04200000, kind, space, pcs)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(*D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def rgb_profile(name: str) -> bytes:
    """The profile of one of `SPACES`."""
    primaries, white, gamma = SPACES[name]
    columns = to_xyz_d50(primaries, white).T
    tags = {
        mark + b"XYZ": b"XYZ \0\0\0\0" + fixed(*column)
        for mark, column in zip((b"r", b"g", b"b"), columns, strict=True)
    }
    return profile(b"RGB ", tags | {mark + b"TRC": curve(gamma) for mark in (b"r", b"g", b"b")})


def grey_profile(gamma: float | None) -> bytes:
    return profile(b"GRAY", {b"kTRC": curve(gamma)})


# Made-up colours of four inks and all that is mixed of them, in Lab under D50.
def ink_corners() -> dict[tuple[int, ...], tuple[int, int, int]]:
    """Inks (cyan, magenta, yellow, black; 0 or 1) -> Lab, whole numbers, of the 16 mixtures."""
    corners = {}
    for corner in np.ndindex(2, 2, 2, 2):
        cyan, magenta, yellow, black = corner
        lightness = 100 - 30 * cyan - 35 * magenta - 5 * yellow - 20 * black
        shade = 0 if black else 1
        a, b = -25 * cyan + 45 * magenta, -30 * cyan - 5 * magenta + 60 * yellow
        corners[corner] = (lightness, shade * a, shade * b)
    return corners


def lab_in_srgb(lab: Sequence[float]) -> np.ndarray:
    """A colour in Lab under D50, as sRGB has it (0..255); not rounded."""
    middle = (lab[0] + 16) / 116
    roots = np.array([middle + lab[1] / 500, middle, middle - lab[2] / 200])
    xyz = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29)) * D50
    return encoded_srgb(np.linalg.inv(to_xyz_d50(*SPACES["sRGB"][:2])) @ xyz)


def cmyk_profile() -> bytes:
    """A printer's, whose inks mix as `ink_corners` say."""
    grid = [round(lightness * 2.55) for lightness, _, _ in ink_corners().values()]
    nodes = zip(grid, ink_corners().values(), strict=True)
    table = bytes(value for level, (_, a, b) in nodes for value in (level, a + 128, b + 128))
    ramp = bytes(range(256))
    head = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    found = head + ramp * 4 + table + ramp * 3
    return profile(b"CMYK", {b"A2B0": found, b"A2B1": found}, b"Lab ")
