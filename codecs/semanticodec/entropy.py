"""Lossless entropy coding of tokens: an adaptive model of each stream, coded by exact integers.

A token is a few choices, each an interval [low, low + count) out of ``total``, all plain integers:
is it among the successors of its context (order 1), if not, among the tokens of this block so far
(order 0), if not, which of the vocabulary. Counts start empty in every block. The context of a
semantic token is the one ``lag`` positions earlier (a column is 8 or 4 positions; the encoder picks
the lag), that of an acoustic token is the semantic token at its position. Yes/no choices have
adaptive counters, so unpredictable tokens cost next to nothing over uniform coding.

constriction's models take floating-point probabilities, except ``Uniform(n)``, which is exact. An
interval is coded with it alone, by the bits-back identity: take a number below ``count`` *from* the
rANS stack, then put (low + number) out of ``total`` onto it. The net cost is log2(total / count).
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int64]

LAGS = (1, 2, 4, 8)
_COUNTER_LIMIT = 256


class _Counts:
    """Symbols in order of first appearance with their counts; cumulative counts in O(log n)."""

    __slots__ = ("counts", "ranks", "symbols", "total", "tree")

    def __init__(self) -> None:
        self.ranks: dict[int, int] = {}
        self.symbols: list[int] = []
        self.counts: list[int] = []
        self.tree: list[int] = [0]  # Fenwick tree over ranks, 1-based
        self.total = 0

    def add(self, symbol: int) -> None:
        self.total += 1
        rank = self.ranks.get(symbol)
        if rank is None:
            self._append(symbol)
            return
        self.counts[rank] += 1
        node = rank + 1
        while node < len(self.tree):
            self.tree[node] += 1
            node += node & -node

    def _append(self, symbol: int) -> None:
        node = len(self.tree)
        self.ranks[symbol] = node - 1
        self.symbols.append(symbol)
        self.counts.append(1)
        below, value, stop = node - 1, 1, node - (node & -node)
        while below > stop:
            value += self.tree[below]
            below -= below & -below
        self.tree.append(value)

    def interval(self, symbol: int) -> tuple[int, int]:
        """Return (low, count) of a symbol that is in the table."""
        rank = node = self.ranks[symbol]
        low = 0
        while node:
            low += self.tree[node]
            node -= node & -node
        return low, self.counts[rank]

    def find(self, target: int) -> int:
        """Return the symbol whose interval holds `target`, 0 <= target < total."""
        node, step = 0, 1 << len(self.symbols).bit_length()
        while step := step >> 1:
            following = node + step
            if following < len(self.tree) and self.tree[following] <= target:
                node, target = following, target - self.tree[following]
        return self.symbols[node]

    def kind(self) -> int:
        """Return a small number that says how settled the table is."""
        return 8 * min(len(self.symbols), 7) + min(self.total.bit_length(), 7)


class _Coder(Protocol):
    """Codes one choice and returns it. A writer is told the choice; a reader ignores it."""

    def pick(self, counts: _Counts, symbol: int) -> int: ...

    def flag(self, counter: list[int], value: bool) -> bool: ...

    def uniform(self, size: int, symbol: int) -> int: ...


class _Writer:
    """Collects intervals, since a stack must be filled from its end."""

    def __init__(self) -> None:
        self.intervals: list[tuple[int, int, int]] = []

    def pick(self, counts: _Counts, symbol: int) -> int:
        self.intervals.append((*counts.interval(symbol), counts.total))
        return symbol

    def flag(self, counter: list[int], value: bool) -> bool:
        self.intervals.append((counter[0] * value, counter[value], sum(counter)))
        return value

    def uniform(self, size: int, symbol: int) -> int:
        self.intervals.append((symbol, 1, size))
        return symbol

    def finish(self) -> bytes:
        """Return the rANS words, without the zero bytes that end the last one."""
        stack = _constriction().stream.stack.AnsCoder()
        for low, count, total in reversed(self.intervals):
            inner = stack.decode(_uniform(count)) if count > 1 else 0
            if total > 1:
                stack.encode_reverse(low + inner, _uniform(total))
        return stack.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


class _Reader:
    """Takes choices back from the rANS words."""

    def __init__(self, payload: bytes) -> None:
        payload = payload.rstrip(b"\0")
        words = np.frombuffer(payload + bytes(-len(payload) % 4), "<u4").astype(np.uint32)
        self.stack = _constriction().stream.stack.AnsCoder(words)

    def pick(self, counts: _Counts, symbol: int) -> int:
        target = self._target(counts.total)
        symbol = counts.find(target)
        self._put_back(target, *counts.interval(symbol))
        return symbol

    def flag(self, counter: list[int], value: bool) -> bool:
        target = self._target(sum(counter))
        value = target >= counter[0]
        self._put_back(target, counter[0] * value, counter[value])
        return value

    def uniform(self, size: int, symbol: int) -> int:
        return self._target(size)

    def is_exhausted(self) -> bool:
        return bool(self.stack.is_empty())

    def _target(self, total: int) -> int:
        return int(self.stack.decode(_uniform(total))) if total > 1 else 0

    def _put_back(self, target: int, low: int, count: int) -> None:
        if count > 1:
            self.stack.encode_reverse(target - low, _uniform(count))


class _AdaptiveModel:
    """Order-1 model with escapes to order 0 and to the uniform distribution, for one stream."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen = _Counts()
        self.successors: dict[int, _Counts] = {}
        self.counters: dict[int, list[int]] = {}

    def code(self, coder: _Coder, symbol: int, context: int) -> int:
        table = self.successors.get(context)
        if table is None:
            table = self.successors[context] = _Counts()
        elif self._flag(coder, 1 + table.kind(), symbol in table.ranks):
            symbol = coder.pick(table, symbol)
            table.add(symbol)
            return symbol
        symbol = self._code_order_0(coder, symbol)
        table.add(symbol)
        return symbol

    def _code_order_0(self, coder: _Coder, symbol: int) -> int:
        if self.seen.total and self._flag(coder, 0, symbol in self.seen.ranks):
            symbol = coder.pick(self.seen, symbol)
        else:
            symbol = coder.uniform(self.size, symbol)
        self.seen.add(symbol)
        return symbol

    def _flag(self, coder: _Coder, kind: int, value: bool) -> bool:
        counter = self.counters.setdefault(kind, [1, 1])
        value = coder.flag(counter, value)
        counter[value] += 2
        if sum(counter) > _COUNTER_LIMIT:
            counter[:] = [(count + 1) // 2 for count in counter]
        return value


def code_block(tokens: Tokens, sizes: tuple[int, int]) -> bytes:
    """Return the coded payload of one block.

    Args:
        tokens: ``[channels, n, 2]``.
        sizes: Entries of the semantic and of the acoustic codebook.
    """
    coder, lag = _Writer(), _best_lag(tokens)
    _code_positions(sizes, coder, tokens.copy(), lag)
    return bytes([lag]) + coder.finish()


def decode_block(
    payload: bytes, channels: int, count: int, sizes: tuple[int, int]
) -> Tokens | None:
    """Return tokens ``[channels, count, 2]``, or None where the payload is no coded block."""
    lag, coder = payload[0], _Reader(payload[1:])
    if not lag:
        return None
    tokens = np.full((channels, count, 2), -1, np.int64)
    _code_positions(sizes, coder, tokens, lag)
    return tokens if coder.is_exhausted() else None


def _code_positions(sizes: tuple[int, int], coder: _Coder, tokens: Tokens, lag: int) -> None:
    """Run both models over ``[channels, n, 2]``; a reading coder fills the tokens in place."""
    semantic, acoustic = (_AdaptiveModel(size) for size in sizes)
    for channel in tokens:
        rows = channel.tolist()
        for position, row in enumerate(rows):
            context = rows[position - lag][0] if position >= lag else -1
            row[0] = semantic.code(coder, row[0], context)
            row[1] = acoustic.code(coder, row[1], row[0])
        channel[:] = rows


def _best_lag(tokens: Tokens) -> int:
    """Return the lag at which most (earlier, present) pairs of semantic tokens occur again."""

    def repeats(lag: int) -> int:
        pairs = tokens[:, :-lag, 0] << 16 | tokens[:, lag:, 0]
        return pairs.size - np.unique(pairs).size

    return max(LAGS, key=repeats)


@lru_cache(maxsize=4096)
def _uniform(size: int) -> Any:
    return _constriction().stream.model.Uniform(size)


@lru_cache(maxsize=1)
def _constriction() -> ModuleType:
    try:
        import constriction
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "entropy-coded tokens need constriction: pip install 'codecbench[entropy]'"
        ) from error
    return constriction
