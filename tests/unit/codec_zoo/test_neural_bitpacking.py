import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_zoo.base import CodecError
from codec_zoo.bitpacking import bits_of, pack_codes, packed_bytes, unpack_codes


@given(entries=st.integers(2, 65536), data=st.data())
def test_codes_come_back_and_take_the_bits_they_need(entries, data):
    codes = np.array(data.draw(st.lists(st.integers(0, entries - 1), max_size=50)), dtype=np.int64)
    packed = pack_codes(codes, entries)
    assert len(packed) == -(-len(codes) * int(np.ceil(np.log2(entries))) // 8)
    assert unpack_codes(packed, entries, len(codes)).tolist() == codes.tolist()


def test_order_is_that_of_the_array():
    codes = np.arange(6).reshape(2, 3)  # [K, T]; frame after frame is the transpose
    assert pack_codes(codes.T, 16).hex() == "031425"


@pytest.mark.parametrize(("entries", "bits"), [(2, 1), (1000, 10), (1024, 10), (2048, 11)])
def test_bits(entries, bits):
    assert bits_of(entries) == bits
    assert packed_bytes(3, entries) == -(-3 * bits // 8)


@pytest.mark.parametrize("packed", [b"", b"\1", b"\1\2\3", b"\1\2\3\4\5"])
def test_another_length_is_refused(packed):
    with pytest.raises(CodecError, match="3 codes of 10 bits take 4 bytes"):
        unpack_codes(packed, 1024, 3)


def test_spare_bits_are_refused():
    with pytest.raises(CodecError, match="behind the last code"):
        unpack_codes(b"\0\0\0\1", 1024, 3)


def test_a_code_outside_its_codebook_is_refused():
    with pytest.raises(CodecError, match="code 1001 is not in a codebook of 1000"):
        unpack_codes(pack_codes(np.array([1001]), 1024), 1000, 1)
