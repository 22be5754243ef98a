"""Pictures are packed anew without losing a pixel, whatever filters the browser chose."""

import struct
import zlib

import pytest

from tests.tools import png

_WIDTH, _HEIGHT = 64, 5


def _picture(filters, kind=2):
    """A picture whose every row is stored with one filter, and its true rows."""
    step = {2: 3, 6: 4}[kind]
    rows = [bytes((x // 24 * 37 + y * 91) & 255 for x in range(_WIDTH * step)) for y in range(_HEIGHT)]
    stored, above = b"", bytes(_WIDTH * step)
    for row, number in zip(rows, filters, strict=True):
        stored += bytes([number]) + _filtered(row, above, step, number)
        above = row
    head = struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, kind, 0, 0, 0)
    packed = png._chunk(b"IDAT", zlib.compress(stored, 0))
    return b"\x89PNG\r\n\x1a\n" + png._chunk(b"IHDR", head) + packed + png._chunk(b"IEND", b""), rows


def _filtered(row, above, step, number):
    made = bytearray()
    for i, byte in enumerate(row):
        left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
        up = above[i]
        guess = left + up - corner
        paeth = min((left, up, corner), key=lambda near: abs(guess - near))
        made.append((byte - (0, left, up, (left + up) // 2, paeth)[number]) & 255)
    return bytes(made)


@pytest.mark.parametrize("kind", [2, 6])
@pytest.mark.parametrize("filters", [[0] * 5, [1] * 5, [2] * 5, [3] * 5, [4] * 5, [4, 3, 2, 1, 0]])
def test_no_pixel_changes(filters, kind):
    picture, rows = _picture(filters, kind)
    made = png.tighter(picture)
    assert len(made) < len(picture)
    stored = zlib.decompress(png._chunks(made)[b"IDAT"])
    size = len(rows[0]) + 1
    assert [stored[i : i + size] for i in range(0, len(stored), size)] == [b"\0" + row for row in rows]


def test_what_would_not_be_smaller_stays_as_it_is():
    picture, _ = _picture([0] * 5)
    once = png.tighter(picture)
    assert png.tighter(once) == once
