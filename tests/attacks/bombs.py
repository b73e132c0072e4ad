"""Small files that claim to be large, or that cost far more to read than to send."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

from PIL import Image as PillowImage

_CLAIM = 60_000  # pixels a side: 3.6 gigapixels
_RESOURCE = b"8BIM" + bytes(8)  # of Photoshop, and empty


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + b"".join(chunks) + pixels


def _deep_png(chunks: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    pixels = _chunk(b"IDAT", zlib.compress(bytes(4 * (1 + 4 * 6))))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + chunks + pixels + _chunk(b"IEND", b"")


def _zeros(mebibytes: int) -> bytes:
    """So many of them, compressed to a thousandth."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(mebibytes)) + packer.flush()


def _small_picture(suffix: str, **options: object) -> bytes:
    file = io.BytesIO()
    PillowImage.new("RGB", (8, 8), (90, 120, 30)).save(file, suffix, **options)
    return file.getvalue()


def _exif_bomb(size: int, tags: int) -> bytes:
    """A TIFF directory each of whose fields claims all the bytes that there are, over and over."""
    entries = b"".join(struct.pack("<HHII", 1000 + n, 7, size - 8, 8) for n in range(tags))
    block = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", tags) + entries + bytes(4)
    return block.ljust(size, b"\0")


def _jpeg_with(segments: bytes) -> bytes:
    plain = _small_picture("JPEG")
    return plain[:2] + segments + plain[2:]


def _exif_segment(block: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block


def _jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG of 16 megapixels whose last scan is repeated: each is a pass over all."""
    file = io.BytesIO()
    PillowImage.new("L", (4096, 4096), 128).save(file, "JPEG", progressive=True, quality=50)
    data = file.getvalue()
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + data[-2:]


def _tiff(fields: list[tuple[int, int, int, int]], *, size: int = 0, following: int = 0) -> bytes:
    entries = b"".join(struct.pack("<HHII", *field) for field in sorted(fields))
    directory = struct.pack("<H", len(fields)) + entries + struct.pack("<I", following)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(size, b"\0")


def _tiff_fields(
    width: int, height: int, strips: int = 1, *, bits: int = 8
) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, strips, 200),
        (277, 3, 1, 1),
        (278, 4, 1, 1),
        (279, 4, strips, 200),
    ]


def _tiff_that_overlaps(bits: int) -> bytes:
    """Each of 4000 rows is a strip and claims the same mebibyte, whose bits lie the other way
    around: to read a row of 16 pixels libtiff copies and turns all of it."""
    rows, place = 4000, 2**20
    kept = [field for field in _tiff_fields(16, rows, rows, bits=bits) if field[0] != 259]
    fields = [*kept, (259, 3, 1, 8), (266, 3, 1, 2)]
    # One array for both places and lengths.
    head = _tiff(fields, size=200) + struct.pack("<I", place) * rows
    row = bytes(int(f"{byte:08b}"[::-1], 2) for byte in zlib.compress(bytes(2 * bits)))
    return head.ljust(place, b"\0") + row.ljust(place, b"\0")


def _tiff_of_wide_tiles() -> bytes:
    """One pixel wide, of tiles that are 60,000 wide: all of each is uncompressed for its first."""
    tiles, across, down, place = 500, 60_000, 16, 4096
    packed = zlib.compress(bytes(across * down))
    fields = [
        field for field in _tiff_fields(1, tiles * down) if field[0] not in (259, 273, 278, 279)
    ]
    fields += [(259, 3, 1, 8), (322, 4, 1, across), (323, 4, 1, down)]
    fields += [(324, 4, tiles, 200), (325, 4, tiles, 200)]  # one array for both
    head = _tiff(fields, size=200) + struct.pack("<I", place) * tiles
    return head.ljust(place, b"\0") + packed.ljust(place, b"\0")


def _webp(width: int, height: int) -> bytes:
    """The extended header, whose sides have 24 bits, and a lossless one of 14."""
    canvas = struct.pack("<I", 0)[:4]
    canvas += struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    bits = (min(width, 2**14) - 1) | (min(height, 2**14) - 1) << 14
    image = b"\x2f" + struct.pack("<I", bits) + bytes(16)
    body = b"WEBP" + _riff(b"VP8X", canvas) + _riff(b"VP8L", image)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _riff(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + info + bytes(900)


def _jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(_small_picture("JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@cache
def bombs() -> dict[str, bytes]:
    """Every bomb by its name, whose suffix is that of its format. All of them are to be refused."""
    text = _zeros(100)
    return {
        "claims.png": _png(_CLAIM, _CLAIM),
        "claims_most.png": _png(2**31 - 1, 2**31 - 1),
        "claims_one_bit.png": _png(_CLAIM, _CLAIM, bits=1, colour=0),
        "claims_line.png": _png(2**31 - 1, 1),
        "claims_deep.png": _png(_CLAIM, _CLAIM, bits=16),
        "ztxt.png": _png(8, 8, _chunk(b"zTXt", b"a\0\0" + text)),
        "itxt.png": _png(8, 8, _chunk(b"iTXt", b"a\0\1\0\0\0" + text)),
        "iccp.png": _png(8, 8, _chunk(b"iCCP", b"a\0\0" + text)),
        "ztxt_many.png": _png(
            8, 8, *(_chunk(b"zTXt", b"%d\0\0" % n + _zeros(1)[:-1]) for n in range(300))
        ),
        "ztxt_exif.png": _png(8, 8, _chunk(b"zTXt", b"Raw profile type exif\0\0" + text)),
        "exif.png": _png(8, 8, _chunk(b"eXIf", _exif_bomb(2**20, 4000))),
        "claims.jpg": _jpeg_claiming(65_000, 65_000),
        "scans.jpg": _jpeg_of_scans(3000),
        "exif.jpg": _jpeg_with(_exif_segment(_exif_bomb(65_000, 5000))),
        "exif_long.jpg": _jpeg_with(
            b"".join(
                _exif_segment(block)
                for whole in [_exif_bomb(16 * 65_000, 5000)]
                for block in [whole[at : at + 65_000] for at in range(0, len(whole), 65_000)]
            )
        ),
        "claims.webp": _webp(2**24, 2**24),
        "claims_lossless.webp": _webp(2**14, 2**14),
        "claims.bmp": _bmp(_CLAIM, _CLAIM),
        "claims_rle.bmp": _bmp(_CLAIM, _CLAIM, 8, 1),
        "claims_negative.bmp": _bmp(_CLAIM, -_CLAIM),
        "claims.tif": _tiff(_tiff_fields(_CLAIM, _CLAIM), size=1000),
        "strips.tif": _tiff(_tiff_fields(64, 64, strips=2**31), size=1000),
        "strips_inside.tif": _tiff(_tiff_fields(64, 64, strips=2**20), size=2**22 + 1000),
        "tags.tif": _tiff(
            _tiff_fields(64, 64) + [(40_000 + n, 7, 2**20 - 8, 8) for n in range(4000)],
            size=2**20,
        ),
        "tiles.tif": _tiff(
            [
                *(field for field in _tiff_fields(64, 64) if field[0] not in (273, 278, 279)),
                *((322, 4, 1, 2**16), (323, 4, 1, 2**16), (324, 4, 1, 200), (325, 4, 1, 500)),
            ],
            size=1000,
        ),
        "overlap.tif": _tiff_that_overlaps(8),
        "overlap_deep.tif": _tiff_that_overlaps(16),
        "wide_tiles.tif": _tiff_of_wide_tiles(),
        "two_sizes.tif": _tiff(
            [*_tiff_fields(_CLAIM, _CLAIM, bits=16), (256, 4, 1, 64), (257, 4, 1, 64)], size=1000
        ),
        "zprofile_exif.png": _png(
            8,
            8,
            _chunk(
                b"zTXt",
                b"Raw profile type exif\0\0"
                + zlib.compress(b"\nexif\n 9\n" + _exif_bomb(2**18, 5000).hex().encode()),
            ),
        ),
        "pictures.jpg": _jpeg_with(
            b"\xff\xe2" + struct.pack(">H", 65_006) + b"MPF\0" + _exif_bomb(65_000, 5000)
        ),
        "two_names.jpg": _jpeg_with(_exif_segment(b"Exif\0\0" + _exif_bomb(65_000, 5000))),
        "order.jpg": _jpeg_with(_exif_segment(b"II\0*" + _exif_bomb(65_000, 5000)[4:])),
        "padding.jpg": _jpeg_with(b"\xff" * 3_000_000),
        "padding_then_zeros.jpg": _jpeg_with(b"\xff" * 200_000 + bytes(100_000)),
        "starts.jpg": _jpeg_with(b"\xff\xd8" * 2_000_000),
        "temporary.jpg": _small_picture("JPEG")[:-2] + b"\xff\x01" * 2_000_000,
        "resources.jpg": _jpeg_with(
            (b"\xff\xed" + struct.pack(">H", 60_016) + b"Photoshop 3.0\0" + _RESOURCE * 5000) * 160
        ),
        "segments.jpg": _jpeg_with(b"\xff\xfe\0\2" * 500_000),
        "chunks.png": _png(8, 8, _chunk(b"tEXt", b"a\0") * 500_000),
    }


@cache
def talkative() -> dict[str, bytes]:
    """Pictures of whose fields and chunks decoders would write a line each. All are to be read."""
    fields = _tiff_fields(4, 4, bits=16)
    unknown, of_unknown_kind = (
        [*fields, *((40_000 + number, kind, 1, number) for number in range(900))]
        for kind in (4, 99)
    )
    beyond = _tiff([(1000 + n, 7, 2**31 + n, 2**31) for n in range(150)])
    return {
        "unknown.tif": _tiff(unknown, size=12_000),
        "unknown_kind.tif": _tiff(of_unknown_kind, size=12_000),
        "unknown.png": _deep_png(_chunk(b"gAMA", bytes(4)) * 900),
        "beyond.jpg": _jpeg_with(_exif_segment(beyond)),
    }


@cache
def circles() -> dict[str, bytes]:
    """Structures that lead back to themselves: to be read, or refused, at the same cost."""
    inside = [(330, 4, 1, 8), (34665, 4, 1, 8), (34853, 4, 1, 8), (40965, 4, 1, 8)]
    directory = _tiff(inside, size=100, following=8)
    return {
        "circle.tif": _tiff([*_tiff_fields(64, 64), *inside], size=5000, following=8),
        "circle.jpg": _jpeg_with(_exif_segment(directory)),
        "circle.png": _png(8, 8, _chunk(b"eXIf", directory)),
    }
