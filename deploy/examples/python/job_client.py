"""A client of JobService: submits once, watches to the end, downloads whole."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

import grpc

from backoff import Backoff
from failures import reason
from stablequeue.jobs.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc

SERVICE_CONFIG = Path(__file__).resolve().parents[3] / "proto" / "service_config.json"
CALL_SECONDS = 30.0
# A quiet watch has a heartbeat every 15 seconds: two of them may be late.
QUIET_SECONDS = 45.0
TERMINAL = frozenset(
    (job_pb2.JOB_STATE_COMPLETED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
)

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


class DamagedError(Exception):
    """What was downloaded is not what was announced."""


class JobClient:
    """One connection to job-service, for one key.

    Unary calls that are safe to repeat are repeated by gRPC itself, as the
    service config beside the protos says. Streams are taken up again here, for
    as long as the patience lasts without any answer.
    """

    def __init__(self, address: str, token: str | None, patience_seconds: float) -> None:
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.service_config", SERVICE_CONFIG.read_text(encoding="utf-8")),
                ("grpc.max_reconnect_backoff_ms", 2_000),
            ],
        )
        self._jobs = job_service_pb2_grpc.JobServiceStub(self._channel)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._patience_seconds = patience_seconds

    async def __aenter__(self) -> Self:
        """Open; the connection itself is made by the first call."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self._channel.close()

    async def submit(
        self, params: job_pb2.GenerationParams, request_id: str
    ) -> job_service_pb2.SubmitJobResponse:
        """Hand in a job; the same id twice is one job."""
        request = job_service_pb2.SubmitJobRequest(params=params, request_id=request_id)
        answer: job_service_pb2.SubmitJobResponse = await self._jobs.SubmitJob(
            request, metadata=self._metadata, timeout=CALL_SECONDS
        )
        return answer

    async def get(self, job_id: str) -> job_pb2.Job:
        """Answer a job as it is now."""
        answer: job_service_pb2.GetJobResponse = await self._jobs.GetJob(
            job_service_pb2.GetJobRequest(job_id=job_id),
            metadata=self._metadata,
            timeout=CALL_SECONDS,
        )
        return answer.job

    async def cancel(self, job_id: str) -> None:
        """Ask for the end of a job; the watch tells when it has come."""
        await self._jobs.CancelJob(
            job_service_pb2.CancelJobRequest(job_id=job_id),
            metadata=self._metadata,
            timeout=CALL_SECONDS,
        )

    async def watch(
        self, job_id: str, resume_token: str
    ) -> AsyncIterator[job_service_pb2.WatchJobResponse]:
        """Yield what happens to a job after the token, to its end, across lost connections."""
        backoff = Backoff(self._patience_seconds)
        while True:
            request = job_service_pb2.WatchJobRequest(job_id=job_id, resume_token=resume_token)
            try:
                async for message in read(self._jobs.WatchJob(request, metadata=self._metadata)):
                    backoff.succeeded()
                    resume_token = message.resume_token or resume_token
                    yield message
                return
            except (grpc.aio.AioRpcError, TimeoutError) as error:
                if resume_token and is_history_gone(error):
                    log.warning("the history is gone: going on with the job as it is now")
                    resume_token = ""
                else:
                    await backoff.wait(error)

    async def images(self, job_id: str) -> list[job_pb2.Image]:
        """Answer what images a job has."""
        answer: job_service_pb2.ListJobImagesResponse = await self._jobs.ListJobImages(
            job_service_pb2.ListJobImagesRequest(job_id=job_id),
            metadata=self._metadata,
            timeout=CALL_SECONDS,
        )
        return list(answer.images)

    async def download(self, job_id: str, image: job_pb2.Image, file: Path) -> None:
        """Bring an image to a file, which is there only when it is whole.

        Bytes that an earlier try left in the `.part` file are not fetched again.
        """
        part = file.with_suffix(file.suffix + ".part")
        backoff = Backoff(self._patience_seconds)
        with part.open("a+b") as output:
            output.seek(0)
            digest = hashlib.file_digest(output, "sha256")
            while (begun := output.tell()) < image.size_bytes:
                if begun:
                    log.warning("downloading %s from byte %d on", file.name, begun)
                request = job_service_pb2.DownloadImageRequest(
                    job_id=job_id, position=image.position, offset_bytes=begun
                )
                stream = read(self._jobs.DownloadImage(request, metadata=self._metadata))
                try:
                    async for message in stream:
                        output.write(message.data)
                        digest.update(message.data)
                        backoff.succeeded()
                    break
                except (grpc.aio.AioRpcError, TimeoutError) as error:
                    await backoff.wait(error)
        if digest.hexdigest() != image.sha256:
            part.unlink()
            raise DamagedError(f"{file.name} is not what was announced: {image.sha256}")
        part.replace(file)


async def read(call: grpc.aio.UnaryStreamCall[Any, Answer]) -> AsyncIterator[Answer]:
    """Yield the messages of a stream; raise TimeoutError when it is silent for too long."""
    try:
        while True:
            try:
                message = await asyncio.wait_for(call.read(), QUIET_SECONDS)
            except TimeoutError:
                raise TimeoutError(f"nothing heard for {QUIET_SECONDS:.0f} s") from None
            if message is grpc.aio.EOF:
                return
            yield cast(Answer, message)
    finally:
        call.cancel()


def is_history_gone(error: Exception) -> bool:
    """Tell whether a watch cannot go on after its token, because that is too old."""
    return isinstance(error, grpc.aio.AioRpcError) and reason(error) == "WATCH_HISTORY_GONE"
