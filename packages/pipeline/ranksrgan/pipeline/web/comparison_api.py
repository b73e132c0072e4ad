"""What the comparison page asks for."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ranksrgan.contracts.errors import UnknownName
from ranksrgan.pipeline.web.comparison import INPUT, ORIGINAL, describe_scorer
from ranksrgan.pipeline.web.comparisons import Comparisons, Limits, safe_stem
from ranksrgan.pipeline.web.guard import read_body
from ranksrgan.pipeline.web.replies import describe_error, reply
from ranksrgan.pipeline.web.services import SCALE, Offer, Services

# The largest upload of the page's own limit comes within it at 4.5 Mbit/s.
_UPLOAD_SECONDS = 60.0


class ComparisonApi:
    """The routes below ``/api`` for comparisons.

    Args:
        services: to tell about.
        comparisons: to work with.
        limits: to tell about.
    """

    def __init__(self, services: Services, comparisons: Comparisons, limits: Limits) -> None:
        self._services, self._comparisons, self._limits = services, comparisons, limits

    def routes(self) -> list[Route]:
        return [
            Route("/api/services", self.list_services),
            Route("/api/comparisons", self.start, methods=["POST"]),
            Route("/api/comparisons/{id}", self.show),
            Route("/api/comparisons/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/comparisons/{id}/retry", self.retry, methods=["POST"]),
            Route("/api/comparisons/{id}/images/{key:path}", self.image),
        ]

    async def list_services(self, request: Request) -> Response:
        """Every service, asked within the last two seconds, and the limits of uploads."""
        offers = [_describe(offer) for offer in await self._services.offers()]
        limits = {
            "upload_bytes": self._limits.upload_bytes,
            "pixels": self._limits.pixels,
            "original_pixels": self._limits.pixels * SCALE**2,
        }
        return reply({"services": offers, "limits": limits, "scale": SCALE})

    async def start(self, request: Request) -> Response:
        """The body is an image file; the query has its ``name``, ``original=1`` for an image to be
        degraded first, and ``model`` and ``scorer``, each as often as wanted."""
        query = request.query_params
        # Before anything is read: bodies that nobody can work on would fill the memory.
        with self._comparisons.reserve() as place:
            data = await read_body(request, self._limits.upload_bytes, _UPLOAD_SECONDS)
            comparison = await run_in_threadpool(
                self._comparisons.start,
                place,
                data,
                query.get("name", "image")[:200],
                original=query.get("original") == "1",
                models=query.getlist("model"),
                scorers=query.getlist("scorer"),
            )
        return reply(comparison.report(), 201)

    def show(self, request: Request) -> Response:
        return reply(self._comparisons.find(request.path_params["id"]).report())

    def cancel(self, request: Request) -> Response:
        comparison = self._comparisons.find(request.path_params["id"])
        comparison.cancel()
        return reply(comparison.report())

    def retry(self, request: Request) -> Response:
        comparison = self._comparisons.find(request.path_params["id"])
        self._comparisons.retry(comparison)
        return reply(comparison.report())

    def image(self, request: Request) -> Response:
        """A picture, with ``?download`` under a name to save it by."""
        comparison = self._comparisons.find(request.path_params["id"])
        key = request.path_params["key"]
        path = comparison.file(key)
        if not path.is_file():
            raise UnknownName(f"{key} is not there (yet)", field=key)
        what = "x1" if key == INPUT else key if key == ORIGINAL else f"{key}_x{SCALE}"
        name = f"{safe_stem(comparison.name)}_{safe_stem(what + '.png')}.png"
        return FileResponse(
            path,
            media_type="image/png",
            filename=name,
            content_disposition_type="attachment"
            if "download" in request.query_params
            else "inline",
            headers={"Cache-Control": "private, max-age=3600"},
        )


def _describe(offer: Offer) -> dict[str, object]:
    return {
        "role": offer.role,
        "address": offer.service,
        "error": None if offer.error is None else describe_error(offer.error),
        "models": [
            {"name": info.name, "architecture": info.architecture, "scale": info.scale}
            for info in offer.models
        ],
        "scorers": [describe_scorer(f"{offer.role}/{info.name}", info) for info in offer.scorers],
    }
