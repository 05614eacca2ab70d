"""The routes: predictions and heatmaps, a page for people, health and figures for machines; and their limits."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive

from imagetrail.errors import ServerError
from imagetrail.pages import render
from imagetrail.serving.collector import Collector, Full
from imagetrail.serving.inference_process import Question, Worker

MOST_BYTES = 32 * 2**20
"""Of a request."""
MOST_IMAGES = 256
"""Of a request."""
BODY_SECONDS = 30.0
"""For a client to send a request's body."""
Endpoint = Callable[[Request], Awaitable[Response]]
POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: it loads nothing from elsewhere, and nobody may frame it."""


@dataclass(frozen=True)
class ServedModel:
    """What every answer says of the model."""

    run_id: str | None
    """In MLflow; None if no run has this model."""
    model_sha256: str
    versions: dict[str, str]
    """Of the libraries that decode and compute."""


@dataclass
class Gauges:
    """What /metrics says, in Prometheus's form."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        """Create the gauges."""
        self.images = Counter("imagetrail_images", "Images by outcome", ["outcome"], registry=self.registry)
        self.requests = Counter("imagetrail_requests", "Requests by status", ["path", "status"], registry=self.registry)
        self.seconds = Histogram("imagetrail_request_seconds", "Time of a request", ["path"], registry=self.registry)
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self.batch = Histogram("imagetrail_batch_images", "Images of a batch", buckets=sizes, registry=self.registry)
        self.waiting = Gauge("imagetrail_waiting_images", "Images that wait for the worker", registry=self.registry)
        self.restarts = Gauge("imagetrail_worker_restarts", "Deaths of the worker", registry=self.registry)


class Service:
    """The answers to requests."""

    def __init__(self, worker: Worker, about: ServedModel, page: Mapping[str, object]) -> None:
        """Start to collect images for the worker; arguments as for `application`."""
        self._about, self._page, self._gauges = asdict(about), page, Gauges()
        self._collector = Collector(worker, self._gauges.batch.observe)
        self._gauges.waiting.set_function(lambda: self._collector.waiting)
        self._gauges.restarts.set_function(lambda: worker.restarts)

    async def predict(self, request: Request) -> Response:
        """Classify the images of a request."""
        files = await _files(request)
        found = await self._results("classify", [content for _, content in files])
        answers = [answer | {"image": name} for (name, _), answer in zip(files, found, strict=True)]
        for answer in answers:
            self._gauges.images.labels("rejected" if "error" in answer else "answered").inc()
        status = 422 if all("error" in answer for answer in answers) else 200
        return JSONResponse({"predictions": answers, "model": self._about}, status)

    async def heatmap(self, request: Request) -> Response:
        """Draw what the answer for an image comes from."""
        files = await _files(request)
        if len(files) != 1:
            raise HTTPException(400, f"a heatmap is of one image, and the request has {len(files)}")
        (found,) = await self._results("heatmap", [files[0][1]])
        return JSONResponse(found, 422) if isinstance(found, dict) else Response(found, media_type="image/png")

    async def _results(self, question: Question, images: Sequence[bytes]) -> list[Any]:
        waiting: list[asyncio.Future[Any]] = []
        try:
            for image in images:  # those that were added before an error are cancelled
                waiting.append(asyncio.wrap_future(self._collector.add(question, image)))  # noqa: PERF401
        except Full:
            for result in waiting:
                result.cancel()
            raise HTTPException(503, "too many images wait; try again later", {"Retry-After": "1"}) from None
        return await asyncio.gather(*waiting)

    async def health(self, _: Request) -> Response:
        """Tell whether there is a model."""
        is_well = self._collector.failure is None
        return JSONResponse({"status": "ok" if is_well else "failed", "model": self._about}, 200 if is_well else 503)

    async def metrics(self, _: Request) -> Response:
        """Return the figures."""
        return Response(generate_latest(self._gauges.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def people(self, _: Request) -> Response:
        """Return the page."""
        text = render.filled("predict.html", {**self._page, "most_bytes": MOST_BYTES})
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

    def counted(self, endpoint: Endpoint) -> Endpoint:
        """Count and time the requests of a route."""

        async def answer(request: Request) -> Response:
            begin, path, status = time.perf_counter(), request.scope["path"], 500
            try:
                response = await endpoint(request)
                status = response.status_code
            except HTTPException as error:
                status = error.status_code
                raise
            finally:
                self._gauges.requests.labels(path, str(status)).inc()
                self._gauges.seconds.labels(path).observe(time.perf_counter() - begin)
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response

        return answer

    @contextlib.asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """End, once what waits is answered, with the application."""
        yield
        await asyncio.to_thread(self._collector.close)


def application(worker: Worker, about: ServedModel, hosts: Sequence[str], page: Mapping[str, object]) -> Starlette:
    """Build the application.

    Args:
        worker: answers.
        about: goes into every answer.
        hosts: Host headers, without ports, that are answered.
        page: values of pages/predict.html.
    """
    service = Service(worker, about, page)
    routes = [
        Route("/", service.counted(service.people)),
        Route("/predict", service.counted(service.predict), methods=["POST"]),
        Route("/heatmap", service.counted(service.heatmap), methods=["POST"]),
        Route("/health", service.health),
        Route("/metrics", service.metrics),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
        exception_handlers={
            HTTPException: _explained,
            ServerError: _explained,
            ClientDisconnect: _unread,
            Exception: _explained,
        },
        lifespan=service.running,
    )


async def _explained(_: Request, error: Exception) -> Response:
    """Answer with one sentence, and nothing of our insides."""
    if isinstance(error, HTTPException):
        closing = {"Connection": "close"} if error.status_code in (408, 413) else {}
        return JSONResponse({"error": error.detail}, error.status_code, dict(error.headers or {}) | closing)
    words = str(error) if isinstance(error, ServerError) else "the server failed; its own log says why"
    return JSONResponse({"error": words}, 503 if isinstance(error, ServerError) else 500)


async def _unread(_: Request, __: Exception) -> Response:
    """Answer a client that left before its request was complete, which is not an error of the server."""
    return Response(status_code=400)


async def _files(request: Request) -> list[tuple[str, bytes]]:
    """Return (name, bytes) of each image: the files of a multipart form, or the body itself.

    Raises:
        HTTPException: the body is too large or too slow, or holds no image.
    """
    limited = Request(request.scope, _limited(request.receive, request.headers.get("content-length", "")))
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await limited.body()
        if not body:
            raise HTTPException(400, "the request has no image; send one as its body, or several as a form's files")
        return [("image", body)]
    async with limited.form(max_files=MOST_IMAGES, max_fields=MOST_IMAGES) as form:
        files = [part for _, part in form.multi_items() if not isinstance(part, str)]
        if not files:
            raise HTTPException(400, "the form has no file; give each image a file name")
        return [(part.filename or "image", await part.read()) for part in files]


def _limited(receive: Receive, length: str) -> Receive:
    """Return the function that receives a request's body, within MOST_BYTES and BODY_SECONDS."""
    end, received = time.monotonic() + BODY_SECONDS, 0
    too_large = HTTPException(413, f"the request has more than {MOST_BYTES} bytes; send smaller or fewer images")

    async def next_part() -> Message:
        nonlocal received
        if length.isdecimal() and int(length[:20]) > MOST_BYTES:
            raise too_large
        try:
            message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408, f"the request's body took more than {BODY_SECONDS:g} s") from None
        received += len(message.get("body", b""))
        if received > MOST_BYTES:
            raise too_large
        return message

    return next_part
