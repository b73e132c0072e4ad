"""A rank dataset that lies with another process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, TypeVar

from ranksrgan.contracts.clients.connection import Connection, read_in_time
from ranksrgan.contracts.errors import InternalError, InvalidDataset, InvalidInput
from ranksrgan.contracts.pairs import Pair, PairSelection, RankedContent, RankedInfo
from ranksrgan.contracts.v1 import rank_data_pb2, rank_data_pb2_grpc
from ranksrgan.contracts.wire import pairs_codec

Item = TypeVar("Item")

_SEEDS = range(-(2**63), 2**63)
_POSITIONS = range(2**62)


class RemotePairSource:
    """A rank dataset behind a ``RankDataService``: the folder's pairs to the bit, in its order.

    Each iterator is a stream of its own. The server computes as many items ahead as the connection
    takes, and the reader may pause for as long as it likes. A stream that breaks off because the
    server has gone, or because the dataset was replaced, begins again after the last item that was
    read, while the connection has patience and if the server has the same data still.

    What iterators raise when they are read:

        ServiceUnavailable: the server went, and did not come back in time; or the dataset was
            replaced, and there is no patience to look at the new one.
        UnknownName: the dataset was removed.
        DeadlineExceeded: the server took longer than the timeout for one item.
        InvalidDataset: the server has other data than when this source was opened.
    """

    def __init__(self, connection: Connection, dataset: str, selection: PairSelection) -> None:
        """Ask for the facts.

        Raises:
            ServiceUnavailable: nobody answers there.
            UnknownName: the server has no such dataset.
            InvalidDataset: it has no such split, or is damaged.
        """
        self._connection = connection
        self._name = dataset
        which: dict[str, Any] = {
            "dataset": dataset,
            "split": selection.split or "",
            "ties": pairs_codec.ties_to_proto(selection.ties),
            "min_gap": selection.min_gap,
        }
        request = rank_data_pb2.DescribePairsRequest(**which)
        answer = connection.call(self._stub().DescribePairs, request)
        self._info = pairs_codec.ranked_info_from_proto(answer)
        # What every stream's request says. Another dataset may get the name at any time.
        self._what = {**which, "fingerprint": self._info.fingerprint}

    @property
    def info(self) -> RankedInfo:
        return self._info

    def pairs(self, seed: int, start: int = 0, step: int = 1) -> Iterator[Pair]:
        """See `PairSource.pairs`.

        Raises:
            InvalidInput: ``start`` is negative, ``step`` below 1, or a number too large to travel.
            InvalidDataset: there is no pair, since all are ties.
        """
        self._check_order(seed, start, step)
        request = rank_data_pb2.StreamPairsRequest(**self._what, seed=seed, step=step)

        def begin(cursor: int) -> Any:
            request.cursor = cursor
            return self._stub().StreamPairs(request)

        return self._endless(
            self._read(begin, start, step, "one pair"),
            lambda message: pairs_codec.pair_from_proto(message.pair),
        )

    def shuffled_contents(
        self, seed: int, start: int = 0, step: int = 1
    ) -> Iterator[RankedContent]:
        """See `PairSource.shuffled_contents`; raises as `pairs`."""
        self._check_order(seed, start, step)
        return self._endless(
            self._read_contents(start, step, shuffled=True, seed=seed),
            pairs_codec.content_from_proto,
        )

    def contents(self) -> Iterator[RankedContent]:
        """See `PairSource.contents`."""
        count = 0
        with closing(self._read_contents(0, 1, shuffled=False)) as messages:
            for message in messages:
                yield self._decoded(pairs_codec.content_from_proto, message)
                count += 1
        if count != self._info.contents:
            raise InternalError(
                f"{self._connection.address} sent {count} of {self._info.contents} contents"
            )

    def close(self) -> None:
        """Close the connection, and with it every stream."""
        self._connection.close()

    def _stub(self) -> rank_data_pb2_grpc.RankDataServiceStub:
        return rank_data_pb2_grpc.RankDataServiceStub(self._connection.channel())

    def _check_order(self, seed: int, start: int, step: int) -> None:
        if start not in _POSITIONS:
            raise InvalidInput(f"start={start}: 0 or more is wanted, below 2**62", field="start")
        if step not in _POSITIONS[1:]:
            raise InvalidInput(f"step={step}: 1 or more is wanted, below 2**62", field="step")
        if seed not in _SEEDS:
            raise InvalidInput(f"seed={seed}: it travels as a number of 64 bits", field="seed")
        if not self._info.pairs:
            raise InvalidDataset(
                f"{self._name} has no pair with an order: every pair is a tie",
                field="ties",
            )

    def _read_contents(
        self, start: int, step: int, *, shuffled: bool, seed: int = 0
    ) -> Generator[rank_data_pb2.StreamContentsResponse, None, None]:
        request = rank_data_pb2.StreamContentsRequest(
            **self._what, shuffled=shuffled, seed=seed, step=step
        )

        def begin(cursor: int) -> Any:
            request.cursor = cursor
            return self._stub().StreamContents(request)

        return self._read(begin, start, step, "one content")

    def _read(
        self, begin: Callable[[int], Any], cursor: int, step: int, what: str
    ) -> Generator[Any, None, None]:
        """The messages of a stream, which is begun as often as need be."""
        call: Any = None

        def read() -> Any:
            nonlocal call
            if call is None:
                call = begin(cursor)
            try:
                return read_in_time(call, self._connection, what)
            except BaseException:
                call.cancel()
                call = None
                raise

        try:
            while (message := self._connection.attempt(read)) is not None:
                if message.cursor != cursor + step:
                    raise InternalError(
                        f"{self._connection.address} sent cursor {message.cursor} after {cursor}"
                    )
                cursor = message.cursor
                yield message
        finally:
            if call is not None:
                call.cancel()

    def _endless(
        self, messages: Generator[Any, None, None], decode: Callable[[Any], Item]
    ) -> Iterator[Item]:
        with closing(messages):
            for message in messages:
                yield self._decoded(decode, message)
        raise InternalError(f"{self._connection.address} ended a stream that has no end")

    def _decoded(self, decode: Callable[[Any], Item], message: Any) -> Item:
        try:
            return decode(message)
        except InvalidInput as error:
            raise InternalError(
                f"{self._connection.address} sent what cannot be: {error}"
            ) from error


def connect_pair_source(
    address: str,
    name: str,
    selection: PairSelection,
    *,
    timeout: float = 120.0,
    retry_for: float = 60.0,
) -> RemotePairSource:
    """The dataset ``datasets/NAME`` of the server at ``address``; raises as `RemotePairSource`."""
    connection = Connection(address, timeout=timeout, retry_for=retry_for)
    return RemotePairSource(connection, f"datasets/{name}", selection)
