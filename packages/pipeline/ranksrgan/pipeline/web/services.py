"""The gRPC services behind the page: which there are, what each offers, and what is down."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

from ranksrgan.contracts.discovery import list_scorers, list_upscalers
from ranksrgan.contracts.errors import RankSRGANError, UnknownName
from ranksrgan.contracts.scorer import ScorerInfo
from ranksrgan.contracts.specs import service_address
from ranksrgan.contracts.upscaler import UpscalerInfo

Role = Literal["metrics", "srgan", "ranker"]
ROLES: tuple[Role, ...] = get_args(Role)

#: Output side over input side, of everything that is compared.
SCALE = 4

# A service that is up answers what it offers at once.
_PATIENCE = 5.0

# Seconds for which what all of them said is told to others too.
_KEPT = 2.0


@dataclass(frozen=True)
class Offer:
    """What a service said when it was last asked.

    Attributes:
        role: of the service.
        service: its address, ``grpc://HOST:PORT`` or ``unix:///PATH.sock``.
        error: why it did not answer; None if it did.
        models: of the srgan service. After an error, those of the answer before.
        scorers: of the other two, likewise.
    """

    role: Role
    service: str
    error: RankSRGANError | None = None
    models: tuple[UpscalerInfo, ...] = ()
    scorers: tuple[ScorerInfo, ...] = ()


class Services:
    """The services that the page uses.

    Args:
        addresses: by role; a role without one is not offered.

    Raises:
        InvalidInput: not an address.
    """

    def __init__(self, addresses: Mapping[Role, str]) -> None:
        for address in addresses.values():
            service_address(address)
        self._lock = threading.Lock()
        self._offers = {role: Offer(role, addresses[role]) for role in ROLES if role in addresses}
        self._asking: asyncio.Task[list[Offer]] | None = None
        self._told: tuple[float, list[Offer]] | None = None  # when, and what

    async def offers(self) -> list[Offer]:
        """What all of them offer, as of the last two seconds.

        Those who come while they are asked share the answer, and wait without a thread: a service
        that hangs would else take all that the server has.
        """
        if self._told is not None and time.monotonic() - self._told[0] < _KEPT:
            return self._told[1]
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_anew())
        # One who goes does not end it for the others.
        return await asyncio.shield(self._asking)

    async def _ask_anew(self) -> list[Offer]:
        try:
            # None of the threads that answer requests, which Starlette has of its own.
            offers = await asyncio.to_thread(self.ask)
            self._told = time.monotonic(), offers
            return offers
        finally:
            self._asking = None

    def ask(self) -> list[Offer]:
        """Ask all of them at once what they offer."""
        with self._lock:
            before = list(self._offers.values())
        if not before:
            return []
        with ThreadPoolExecutor(len(before)) as pool:
            offers = list(pool.map(_ask, before))
        with self._lock:
            self._offers = {offer.role: offer for offer in offers}
        return offers

    def model(self, name: str) -> str:
        """The spec for `open_upscaler` of a model that is offered.

        Raises:
            UnknownName: it is not, or is not of the scale that is compared.
            RankSRGANError: the service, asked because of that name, did not answer.
        """
        offer = self._offer("srgan", name)
        names = [info.name for info in offer.models if info.scale == SCALE]
        return _spec(offer, name, names, f"model of scale {SCALE}")

    def scorer(self, role: str, name: str) -> tuple[str, ScorerInfo]:
        """The spec for `open_scorer` of a scorer that is offered, and what is said about it.

        Raises:
            UnknownName: it is not.
            RankSRGANError: the service, asked because of that name, did not answer.
        """
        offer = self._offer(role, name)
        infos = {info.name: info for info in offer.scorers}
        return _spec(offer, name, list(infos), "scorer"), infos[name]

    def _offer(self, role: str, name: str) -> Offer:
        """What that service said, asked again if it has not told of that name.

        A page that was open before this server began asks for what another one had heard of.
        """
        with self._lock:
            found = [offer for offer in self._offers.values() if offer.role == role]
            there = ", ".join(self._offers) or "none"
        if not found:
            raise UnknownName(
                f"there is no {role[:80]!r} service here, only {there}", field="service"
            )
        (offer,) = found
        if name in {info.name for info in offer.models} | {info.name for info in offer.scorers}:
            return offer
        offer = _ask(offer)
        with self._lock:
            self._offers[offer.role] = offer
        if offer.error is not None:
            raise offer.error
        return offer


def _ask(before: Offer) -> Offer:
    try:
        if before.role == "srgan":
            models = tuple(list_upscalers(before.service, timeout=_PATIENCE))
            return Offer(before.role, before.service, models=models)
        scorers = tuple(list_scorers(before.service, timeout=_PATIENCE))
        return Offer(before.role, before.service, scorers=scorers)
    except RankSRGANError as error:
        return Offer(before.role, before.service, error, before.models, before.scorers)


def _spec(offer: Offer, name: str, names: list[str], what: str) -> str:
    # Only names that the service gave: another one might lead to another socket.
    if name not in names:
        raise UnknownName(
            f"the {offer.role} service offers no {what} {name[:80]!r}, only "
            f"{', '.join(names) or 'none'}",
            field=name[:80],
        )
    return f"{offer.service.rstrip('/')}/{name}"
