"""What the pages of studies ask for. Raters never learn which method made an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ranksrgan.contracts.config import Config
from ranksrgan.contracts.errors import InvalidInput, UnknownName
from ranksrgan.pipeline.web.guard import read_body
from ranksrgan.pipeline.web.live_standings import LiveStandings
from ranksrgan.pipeline.web.replies import reply
from ranksrgan.pipeline.web.study import Showing, Study, check_rater
from ranksrgan.pipeline.web.study_images import MissingFiles, send_image, warn_of_other_files
from ranksrgan.pipeline.web.study_results import votes_csv
from ranksrgan.pipeline.web.vote_book import Choice, Tally, VoteBook

# More than any request of these pages has.
_BODY_BYTES = 2**12


class _VoteRequest(Config):
    rater: str
    pair: str
    choice: Choice
    milliseconds: Annotated[int, Field(ge=0, le=2**40)]


class _UndoRequest(Config):
    rater: str
    position: Annotated[int, Field(ge=1, lt=2**31)]


class StudyApi:
    """The routes below ``/api`` for studies. The log says which images are not those voted on.

    Args:
        studies: by name.
        book: holds their votes; None if there are no studies.
    """

    def __init__(self, studies: Mapping[str, Study], book: VoteBook | None) -> None:
        self._studies, self._book = studies, book
        self._missing = MissingFiles()
        self._standings: dict[str, LiveStandings] = {}
        if book is not None:
            for study in studies.values():
                warn_of_other_files(study, book)
            self._standings = {name: LiveStandings(name, book) for name in studies}

    def routes(self) -> list[Route]:
        return [
            Route("/api/studies", self.list_studies),
            Route("/api/studies/{study}/next", self.next),
            Route("/api/studies/{study}/votes", self.vote, methods=["POST"]),
            Route("/api/studies/{study}/undo", self.undo, methods=["POST"]),
            Route("/api/studies/{study}/results", self.results),
            Route("/api/studies/{study}/votes.csv", self.votes),
            Route("/api/studies/{study}/images/{pair}/{side}", self.image),
        ]

    def list_studies(self, request: Request) -> Response:
        studies, book = self._studies.values(), self._book
        tallies = [Tally() if book is None else book.tally(study.name) for study in studies]
        return reply([_summary(*found) for found in zip(studies, tallies, strict=True)])

    def next(self, request: Request) -> Response:
        """The pair that the rater of the query sees next, and the images of the one after it."""
        study, book = self._find(request)
        return reply(self._next(study, book, check_rater(request.query_params.get("rater", ""))))

    async def vote(self, request: Request) -> Response:
        """Write a vote, and answer as `next`."""
        wanted = _parse(_VoteRequest, await read_body(request, _BODY_BYTES))
        study, book = self._find(request)
        rater = check_rater(wanted.rater)
        showing = study.showing(rater, study.pair(wanted.pair))

        def work() -> dict[str, Any]:
            book.record(study.name, rater, showing, wanted.choice, wanted.milliseconds)
            return self._next(study, book, rater)

        return reply(await run_in_threadpool(work))

    async def undo(self, request: Request) -> Response:
        """Take back the rater's vote of that position if it is the last, and answer as `next`."""
        wanted = _parse(_UndoRequest, await read_body(request, _BODY_BYTES))
        study, book = self._find(request)
        rater = check_rater(wanted.rater)

        def work() -> dict[str, Any]:
            book.undo(study.name, rater, wanted.position)
            return self._next(study, book, rater)

        return reply(await run_in_threadpool(work))

    def results(self, request: Request) -> Response:
        """How the methods fare, and the numbers of the votes that say it."""
        study, _ = self._find(request)
        tally, found = self._standings[study.name].now()
        standings = [asdict(standing) for standing in found]
        return reply({**_summary(study, tally), "standings": standings})

    def votes(self, request: Request) -> Response:
        """All votes as CSV."""
        study, book = self._find(request)
        return Response(
            votes_csv(book.ballots(study.name)),
            media_type="text/csv",
            headers={
                "Content-Disposition": f'attachment; filename="votes-{study.name}.csv"',
                "Cache-Control": "no-store",
            },
        )

    def image(self, request: Request) -> Response:
        """One of a pair's two images, as the rater of the query sees them."""
        study, _ = self._find(request)
        pair, side = study.pair(request.path_params["pair"]), request.path_params["side"]
        if side not in ("left", "right"):
            raise UnknownName(f"{side[:20]!r} is neither left nor right", field="side")
        showing = study.showing(check_rater(request.query_params.get("rater", "")), pair)
        method = showing.left if side == "left" else showing.right
        return send_image(study.images[pair.content][method], request.headers.get("if-none-match"))

    def _find(self, request: Request) -> tuple[Study, VoteBook]:
        name = request.path_params["study"]
        study = self._studies.get(name)
        if study is None or self._book is None:
            there = ", ".join(self._studies) or "none"
            raise UnknownName(f"there is no study {name[:80]!r}, only {there}", field="study")
        return study, self._book

    def _next(self, study: Study, book: VoteBook, rater: str) -> dict[str, Any]:
        rater = book.known_as(study.name, rater)
        ballots = book.ballots(study.name, rater)
        ahead = study.ahead(rater, {ballot.showing.pair for ballot in ballots})
        done = len(study.pairs) - len(ahead)
        missing = self._missing.among(path for one in ahead for path in study.files(one.pair))
        # Who waited for an image that is gone would never come to the others.
        ahead = [one for one in ahead if missing.isdisjoint(study.files(one.pair))]
        shown = [self._describe(study, showing) for showing in ahead[:2]]
        return {
            "rater": rater,
            "done": done,
            "total": done + len(ahead),
            # Of the vote that undo would take back; 0 if there is none.
            "last": max((ballot.position for ballot in ballots), default=0),
            "pair": shown[0] if shown else None,
            "after": shown[1] if len(shown) > 1 else None,
        }

    def _describe(self, study: Study, showing: Showing) -> dict[str, Any]:
        width, height = study.sizes[showing.pair.content]
        return {"token": study.token(showing.pair), "width": width, "height": height}


def _summary(study: Study, tally: Tally) -> dict[str, Any]:
    return {
        "name": study.name,
        "contents": len(study.images),
        "pairs": len(study.pairs),
        "votes": tally.votes,
        "raters": tally.raters,
    }


def _parse(model: type[Any], body: bytes) -> Any:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise InvalidInput(f"{where}: {first['msg']}", field=where) from error
