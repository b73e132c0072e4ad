"""How densely a picture's pixels lie where it is shown or printed, and where formats say so.

The numbers are kept as they stand, also of an enlarged picture: it has more pixels then and is
larger on paper, as software that changes only the pixels leaves it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ranksrgan.contracts.image_files import exif
from ranksrgan.contracts.image_files.exif import (
    RATIONAL,
    SHORT,
    X_RESOLUTION,
    Y_RESOLUTION,
    Field,
)

_UNIT = 296
#: The fields of EXIF and TIFF that tell it.
FIELDS = frozenset({X_RESOLUTION, Y_RESOLUTION, _UNIT})

_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3  # in EXIF and TIFF; in JFIF one less
_INCHES, _CENTIMETRES = Fraction(10_000, 254), Fraction(100)  # in a metre


@dataclass(frozen=True)
class Resolution:
    """Pixels by length, in both directions.

    Attributes:
        x: across, by the metre.
        y: down, by the metre.
        metric: False if only the proportion of ``x`` and ``y`` is known: pixels are not square.
    """

    x: Fraction
    y: Fraction
    metric: bool = True

    def in_jfif(self) -> bytes | None:
        """Unit and densities as a JPEG's first segment has them, in whole numbers; None if it has
        no room for such."""
        unit, x, y = self._in_units()
        if unit == _CENTIMETRE and (x.denominator, y.denominator) != (1, 1):
            unit, x, y = _INCH, self.x / _INCHES, self.y / _INCHES
        numbers = round(x), round(y)
        possible = all(0 < number < 2**16 for number in numbers)
        return struct.pack(">BHH", unit - 1, *numbers) if possible else None

    def in_png(self) -> bytes | None:
        """Content of the chunk pHYs; None if it has no room for such."""
        numbers = round(self.x), round(self.y)
        possible = all(0 < number < 2**31 for number in numbers)
        return struct.pack(">IIB", *numbers, self.metric) if possible else None

    def in_exif(self) -> list[Field]:
        """The fields of EXIF and TIFF, little-endian."""
        unit, *both = self._in_units()
        ratios = [number.limit_denominator(2**16).as_integer_ratio() for number in both]
        if not all(0 < part < 2**32 for ratio in ratios for part in ratio):
            return []
        return [
            Field(X_RESOLUTION, RATIONAL, struct.pack("<II", *ratios[0])),
            Field(Y_RESOLUTION, RATIONAL, struct.pack("<II", *ratios[1])),
            Field(_UNIT, SHORT, struct.pack("<H", unit)),
        ]

    def in_bmp(self) -> tuple[float, float]:
        """As Pillow wants it, which multiplies by a rounded number; 0 if BMP has no room for it."""
        if not self.metric or max(self.x, self.y) >= 2**31:
            return 0, 0
        return float(self.x) / 39.3701, float(self.y) / 39.3701

    def _in_units(self) -> tuple[int, Fraction, Fraction]:
        if not self.metric:
            return _NO_UNIT, self.x, self.y
        x, y = self.x / _INCHES, self.y / _INCHES
        if (x.denominator, y.denominator) == (1, 1):
            return _INCH, x, y
        return _CENTIMETRE, self.x / _CENTIMETRES, self.y / _CENTIMETRES


def in_file(kind: str | None, info: dict[Any, Any], block: bytes | None) -> Resolution | None:
    """What a file says in its format's own place, or else in its EXIF block.

    It is that of the upright picture: of one that lies on its side the two numbers change places.

    Args:
        kind: of the file, as Pillow calls it.
        info: as Pillow has read it from the file.
        block: EXIF, of a TIFF file its fields.
    """
    found = None
    if "jfif_density" in info:
        found = _resolution(info["jfif_unit"] + 1, *map(Fraction, info["jfif_density"]))
    elif kind in ("PNG", "BMP") and "dpi" in info:
        # Pillow has made inches of metres, with a number that it rounds for BMP.
        metres = 0.0254 if kind == "PNG" else 1 / 39.3701
        found = _checked(*(Fraction(round(dots / metres)) for dots in info["dpi"]))
    elif kind == "PNG" and "aspect" in info:
        found = _resolution(_NO_UNIT, *map(Fraction, info["aspect"]))
    if not block:
        return found
    if exif.is_on_its_side(block):
        return _turned(found or in_block(block))
    return found or in_block(block)


def in_block(block: bytes) -> Resolution | None:
    """What an EXIF block says."""
    order = exif.byte_order(block)
    fields = {field.tag: field for field in exif.read_fields(block) if field.tag in FIELDS}
    numbers = []
    for tag in (X_RESOLUTION, Y_RESOLUTION):
        if tag not in fields or fields[tag].kind != RATIONAL:
            return None
        above, below = struct.unpack_from(f"{order}II", fields[tag].values)
        numbers.append(Fraction(above, below) if below else Fraction(0))
    unit = _INCH
    if _UNIT in fields and fields[_UNIT].kind == SHORT:
        (unit,) = struct.unpack_from(f"{order}H", fields[_UNIT].values)
    return _resolution(unit, *numbers)


def _resolution(unit: int, x: Fraction, y: Fraction) -> Resolution | None:
    if unit == _NO_UNIT:
        return _checked(x, y, metric=False) if x != y else None  # square pixels, as all are
    in_a_metre = {_INCH: _INCHES, _CENTIMETRE: _CENTIMETRES}.get(unit)
    return None if in_a_metre is None else _checked(x * in_a_metre, y * in_a_metre)


def _turned(found: Resolution | None) -> Resolution | None:
    return found and Resolution(found.y, found.x, found.metric)


def _checked(x: Fraction, y: Fraction, *, metric: bool = True) -> Resolution | None:
    return Resolution(x, y, metric) if x > 0 and y > 0 else None
