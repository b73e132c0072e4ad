"""What a server takes on at a time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from ranksrgan.contracts.serving.settings import ServerSettings


@dataclass(frozen=True)
class ServerLimits:
    """What a server takes on.

    Attributes:
        workers: requests read, answered or otherwise worked on at a time. What a model does for
            them is apart from that: one thread for each device does it, see `serving.devices`, and
            what waits for it is not counted here.
        queue: requests that may wait for a worker or a device, besides as many as there are
            workers; the next one is refused with `Overloaded`.
        batch_size: images of several requests that a model works on together at most. Requests
            that hold more by themselves are done as they are.
        batch_wait: seconds that work for a model waits for others to join it. It only does while
            there are requests that may bring some, and never if the model cannot join any.
        streams: streams that may be open beside those, idle or not; likewise. Each of their
            responses waits for a worker, and the client meanwhile.
        waiters: calls that may be waiting for the end of a long job beside those; likewise.
        max_message_bytes: of a request, or of one request of a stream.
        arrival: seconds that a request, or the next part of an image, may take to come, and an
            answer to be read.
        grace: seconds that requests in flight get to finish after SIGTERM.
        connection_age: seconds after which a client is asked to connect anew, calls under way
            excepted; None: never.
    """

    workers: int = 2
    queue: int = 16
    batch_size: int = 8
    batch_wait: float = 0.005
    streams: int = 16
    waiters: int = 32
    max_message_bytes: int = 64 * 2**20
    arrival: float = 60.0
    grace: float = 30.0
    connection_age: float | None = None

    @property
    def calls(self) -> int:
        """Calls that may be in work or wait for it, be streams, or wait for jobs, at a time. Beside
        them may be open: as many slow requests as there are workers and places to queue, calls that
        load models or look at what is there, health and reflection."""
        return self.workers + self.queue + self.streams + self.waiters

    @classmethod
    def of(cls, settings: ServerSettings) -> Self:
        """Every limit is a setting of the same name, where that kind of server has it."""
        names = [field.name for field in fields(cls) if hasattr(settings, field.name)]
        return cls(**{name: getattr(settings, name) for name in names})
