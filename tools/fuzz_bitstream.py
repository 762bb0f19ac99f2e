"""Feed the ``.smc`` reader mutated streams; each must end in a `BitstreamError` or a valid decode.

    python tools/fuzz_bitstream.py --inputs 100000 --seed 0

Half of the mutants are resealed: header CRC and block checks are made right again, as a hostile
author would, so that the code behind the checks is reached. Prints counts, the slowest input and
the growth of peak memory; exits with 1 at the first input that breaks the rule, and prints it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable

import numpy as np

from semanticodec import bitstream
from semanticodec.bitstream import BitstreamError, StreamHeader

Mutator = Callable[[bytearray, np.random.Generator], None]


def seed_streams(generator: np.random.Generator) -> list[bytes]:
    """Return streams of several sizes, vocabularies and channel counts, packed and coded."""
    streams = []
    for rate, semantic, acoustic, channels, length in [
        (100, 32768, 8192, 1, 200),
        (50, 16384, 8192, 2, 70),
        (25, 4096, 8192, 1, 128),
        (100, 300, 77, 1, 150),
        (7, 2, 2, 3, 40),
        (25, 65536, 65536, 1, 0),
    ]:
        header = StreamHeader(
            "fuzz", bytes(8), rate, semantic, acoustic, 16000, 32000 * length // rate, channels, 1
        )
        shape = (channels, length)
        pool = generator.integers(0, [semantic, acoustic], (12, 2))
        tokens = pool[(generator.random(shape) ** 2 * 12).astype(int)]
        for seconds in (0.4, 1.28, 10.24):
            for entropy in (False, True):
                pieces = bitstream.iter_stream(
                    header, length, [tokens], entropy=entropy, block_seconds=seconds
                )
                streams.append(b"".join(pieces))
    return streams


def flip_bits(data: bytearray, generator: np.random.Generator) -> None:
    """Flip one to sixteen bits."""
    for bit in generator.integers(0, 8 * len(data), generator.integers(1, 17)):
        data[bit // 8] ^= 1 << bit % 8


def set_bytes(data: bytearray, generator: np.random.Generator) -> None:
    """Overwrite a stretch with extreme or random bytes."""
    start, count = generator.integers(len(data)), generator.integers(1, 12)
    value = generator.choice([0x00, 0x7F, 0x80, 0xB7, 0xFF, -1])
    for index in range(start, min(start + count, len(data))):
        data[index] = generator.integers(256) if value < 0 else value


def edit_header(data: bytearray, generator: np.random.Generator) -> None:
    """Overwrite one to three bytes of the header's fields after magic and version."""
    if len(data) < 48:
        return
    for index in generator.integers(5, 48, generator.integers(1, 4)):
        data[index] = generator.choice([0, 1, 2, 0x7F, 0xFF, generator.integers(256)])


def truncate(data: bytearray, generator: np.random.Generator) -> None:
    """Cut the end off."""
    del data[generator.integers(len(data)) :]


def delete(data: bytearray, generator: np.random.Generator) -> None:
    """Lose up to 64 bytes somewhere."""
    start = generator.integers(len(data))
    del data[start : start + generator.integers(1, 65)]


def insert(data: bytearray, generator: np.random.Generator) -> None:
    """Put up to 64 random bytes somewhere."""
    start = generator.integers(len(data) + 1)
    data[start:start] = generator.bytes(generator.integers(1, 65))


def duplicate(data: bytearray, generator: np.random.Generator) -> None:
    """Repeat a stretch."""
    start, stop = sorted(generator.integers(0, len(data) + 1, 2))
    data[start:start] = data[start:stop]


def sync_flood(data: bytearray, generator: np.random.Generator) -> None:
    """Turn the end into sync words with small lengths."""
    start = generator.integers(len(data))
    data[start:] = b"\xb7\x00\x00\x08" * generator.integers(1, 200)


MUTATORS: tuple[Mutator, ...] = (
    flip_bits,
    set_bytes,
    edit_header,
    truncate,
    delete,
    insert,
    duplicate,
    sync_flood,
)


def reseal(data: bytearray) -> None:
    """Make the header's CRC and the check of each block where it is due right again."""
    if len(data) < 52:
        return
    stop = 48 + data[7]
    data[stop : stop + 4] = zlib.crc32(data[:stop]).to_bytes(4, "big")
    try:
        layout, start = bitstream._parse_header(bytes(data))
    except BitstreamError:
        return
    for index in range(min(layout.num_blocks, len(data))):
        size = layout.packed_bytes(index)
        if layout.coded:
            size = 4 + int.from_bytes(data[start + 1 : start + 4], "big")
        stop = start + size
        if stop + 4 > len(data):
            return
        check = zlib.crc32(data[start:stop], layout.salt) ^ (index * 0x9E3779B1 & 0xFFFFFFFF)
        data[stop : stop + 4] = check.to_bytes(4, "big")
        start = stop + 4


def outcome(data: bytes) -> str:
    """Return how reading ended.

    Raises:
        AssertionError: If a decode breaks what `read_stream` promises.
    """
    try:
        stream = bitstream.read_stream(data)
    except BitstreamError:
        return "BitstreamError"
    header, tokens = stream.header, stream.tokens
    assert tokens.shape == (header.channels, tokens.shape[1], 2)
    sizes = (header.semantic_vocab_size, header.acoustic_vocab_size)
    assert ((tokens >= 0) & (tokens < sizes)).all()
    ends = [end for gap in stream.damaged for end in (gap.start, gap.stop)]
    assert [0, *ends, tokens.shape[1]] == sorted([0, *ends, tokens.shape[1]])
    again = bitstream.read_stream(bitstream.write_stream(header, tokens))
    assert again.header == header
    assert np.array_equal(again.tokens, tokens)
    return "decoded, some blocks concealed" if stream.damaged else "decoded, no block damaged"


def main() -> int:
    """Run the fuzzer; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="mutated streams to read")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    streams = seed_streams(generator)
    counts: Counter[tuple[str, str]] = Counter()
    slowest, memory = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(arguments.inputs):
        data = bytearray(streams[generator.integers(len(streams))])
        for mutator in generator.choice(len(MUTATORS), generator.integers(1, 4)):
            if data:
                MUTATORS[mutator](data, generator)
        kind = "resealed" if generator.random() < 0.5 else "raw"
        if kind == "resealed":
            reseal(data)
        started = time.perf_counter()
        try:
            counts[kind, outcome(bytes(data))] += 1
        except BaseException:
            print("broken by", bytes(data).hex(), file=sys.stderr)
            raise
        slowest = max(slowest, time.perf_counter() - started)
    for (kind, ending), count in sorted(counts.items()):
        print(f"{count:8d}  {kind:8s}  {ending}")
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(f"{sum(counts.values()):8d}  inputs; slowest {slowest:.3f} s; memory +{growth:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
