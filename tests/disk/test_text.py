"""Text files as people's programs write them."""

from __future__ import annotations

import pytest

from clipcli.disk.text import decode_text, decode_typed


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_decoded_as_its_mark_says(encoding):
    assert decode_text("cät\t寿司\r\n".encode(encoding)) == "cät\t寿司\r\n"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xfc", "not UTF-8 text"),
        (b"\xef\xbb\xbf\xfc", "not UTF-8 text"),
        (b"\xff\xfeabc", "not UTF-16 text"),
        (b"a\nb\0c", "line 2 holds the byte 0x00"),
        (b"a\x7fb", "line 1 holds the byte 0x7f"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(data, reason):
    with pytest.raises(ValueError, match=reason):
        decode_typed(data)
