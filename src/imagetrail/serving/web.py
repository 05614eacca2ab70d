"""The routes: predictions and heatmaps, a page for people, health and figures for machines; and their limits."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
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


def application(worker: Worker, about: ServedModel, hosts: Sequence[str], page: Mapping[str, object]) -> Starlette:
    """Build the application.

    Args:
        worker: answers.
        about: goes into every answer.
        hosts: Host headers, without ports, that are answered.
        page: values of pages/predict.html.
    """
    gauges = Gauges()
    collector = Collector(worker, gauges.batch.observe)
    gauges.waiting.set_function(lambda: collector.waiting)
    gauges.restarts.set_function(lambda: worker.restarts)

    async def results(question: Question, images: Sequence[bytes]) -> list[Any]:
        try:
            waiting = [asyncio.wrap_future(collector.add(question, image)) for image in images]
        except Full:
            raise HTTPException(503, "too many images wait; try again later", {"Retry-After": "1"}) from None
        return await asyncio.gather(*waiting)

    async def predict(request: Request) -> Response:
        files = await _files(request)
        found = await results("classify", [content for _, content in files])
        answers = [answer | {"image": name} for (name, _), answer in zip(files, found, strict=True)]
        for answer in answers:
            gauges.images.labels("rejected" if "error" in answer else "answered").inc()
        status = 422 if all("error" in answer for answer in answers) else 200
        return JSONResponse({"predictions": answers, "model": about.__dict__}, status)

    async def heatmap(request: Request) -> Response:
        files = await _files(request)
        if len(files) != 1:
            raise HTTPException(400, f"a heatmap is of one image, and the request has {len(files)}")
        (found,) = await results("heatmap", [files[0][1]])
        return JSONResponse(found, 422) if isinstance(found, dict) else Response(found, media_type="image/png")

    async def health(request: Request) -> Response:
        is_well = collector.failure is None
        return JSONResponse({"status": "ok" if is_well else "failed", "model": about.__dict__}, 200 if is_well else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(gauges.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def people(request: Request) -> Response:
        text = render.filled("predict.html", {**page, "most_bytes": MOST_BYTES})
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(collector.close)

    def counted(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            begin, path = time.perf_counter(), request.scope["path"]
            status = 500
            try:
                response = await endpoint(request)
                status = response.status_code
            except HTTPException as error:
                status = error.status_code
                raise
            finally:
                gauges.requests.labels(path, str(status)).inc()
                gauges.seconds.labels(path).observe(time.perf_counter() - begin)
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response

        return answer

    routes = [
        Route("/", counted(people)), Route("/predict", counted(predict), methods=["POST"]),
        Route("/heatmap", counted(heatmap), methods=["POST"]), Route("/health", health), Route("/metrics", metrics),
    ]  # fmt: skip
    return Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
        exception_handlers={HTTPException: _explained, ServerError: _explained, Exception: _explained},
        lifespan=lifespan,
    )


async def _explained(_: Request, error: Exception) -> Response:
    """Answer with one sentence, and nothing of our insides."""
    if isinstance(error, HTTPException):
        closing = {"Connection": "close"} if error.status_code in (408, 413) else {}
        return JSONResponse({"error": error.detail}, error.status_code, dict(error.headers or {}) | closing)
    words = str(error) if isinstance(error, ServerError) else "the server failed; its own log says why"
    return JSONResponse({"error": words}, 503 if isinstance(error, ServerError) else 500)


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
