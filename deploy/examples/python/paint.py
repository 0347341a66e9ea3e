"""Paints a picture with StableQueue: submits, watches, downloads; Ctrl-C cancels the job.

The token of an API key is read from the environment variable STABLEQUEUE_TOKEN.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
import uuid
from pathlib import Path

import grpc

from failures import explain
from job_client import TERMINAL, DamagedError, JobClient
from stablequeue.jobs.v1 import job_pb2, job_service_pb2

TOKEN_VARIABLE = "STABLEQUEUE_TOKEN"  # noqa: S105 - the name, not the token
FAILED = 1
# What a shell shows for a program that ended with Ctrl-C.
CANCELLED = 130


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("prompt")
    parser.add_argument("--address", default="127.0.0.1:50051", help="of job-service")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the images")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--request-id",
        default=str(uuid.uuid4()),
        help="one job for one id: start again with the same to go on with that job",
    )
    parser.add_argument("--patience", type=float, default=120.0, help="seconds without an answer")
    return parser.parse_args()


def describe(message: job_service_pb2.WatchJobResponse) -> str | None:
    """Say what a message of the watch tells; None where that is nothing."""
    match message.WhichOneof("update"):
        case "snapshot":
            job = message.snapshot
            state = job_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()
            return f"{state} {job.hold.message}".rstrip()
        case "event":
            event = message.event
            kind = job_service_pb2.JobEventType.Name(event.type)
            words = [kind.removeprefix("JOB_EVENT_TYPE_").lower().replace("_", " ")]
            if event.type == job_service_pb2.JOB_EVENT_TYPE_PHASE_CHANGED:
                words = [phase_name(event.phase)]
            if event.server:
                words.append(f"on {event.server}")
            if event.message:
                words.append(f"({event.message})")
            return " ".join(words)
        case "progress":
            progress = message.progress
            done = f"{progress.fraction:4.0%}"
            return f"{phase_name(progress.phase)} {done}, step {progress.step} of {progress.steps}"
        case _:
            return None


def phase_name(phase: job_pb2.AttemptPhase) -> str:
    """Answer the name of a phase for people."""
    name = job_pb2.AttemptPhase.Name(phase)
    return name.removeprefix("ATTEMPT_PHASE_").lower().replace("_", " ")


async def cancel_when(stop: asyncio.Event, client: JobClient, job_id: str) -> None:
    """Cancel the job when that is asked for. Asked again, the program ends at once."""
    await stop.wait()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    print("cancelling", flush=True)
    try:
        await client.cancel(job_id)
    except grpc.aio.AioRpcError as error:
        print(f"cannot cancel: {explain(error)}", file=sys.stderr)


async def paint(options: argparse.Namespace, token: str | None) -> int:
    """Run one job from its prompt to its files; answer the exit code."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    params = job_pb2.GenerationParams(
        prompt=options.prompt,
        steps=options.steps,
        width=options.width,
        height=options.height,
        seed=options.seed,
    )
    async with JobClient(options.address, token, options.patience) as client:
        taken = await client.submit(params, options.request_id)
        job_id = taken.job.job_id
        print(f"job {job_id}, request id {options.request_id}", flush=True)
        canceller = asyncio.create_task(cancel_when(stop, client, job_id))
        try:
            async for message in client.watch(job_id, taken.resume_token):
                if line := describe(message):
                    print(line, flush=True)
        finally:
            canceller.cancel()
        job = await client.get(job_id)
        if job.state not in TERMINAL:
            print("the watch ended before the job did", file=sys.stderr)
            return FAILED
        if job.state == job_pb2.JOB_STATE_CANCELLED:
            return CANCELLED
        if job.state == job_pb2.JOB_STATE_FAILED:
            print(f"{job.error.code}: {job.error.message}", file=sys.stderr)
            return FAILED
        options.out.mkdir(parents=True, exist_ok=True)
        for image in await client.images(job_id):
            file = options.out / f"{job_id}-{image.position}.png"
            await client.download(job_id, image, file)
            print(f"{file} ({image.width} x {image.height}, seed {image.seed})", flush=True)
    return 0


def main() -> int:
    """Run the program; answer its exit code."""
    options = arguments()
    logging.basicConfig(format="%(message)s")
    try:
        return asyncio.run(paint(options, os.environ.get(TOKEN_VARIABLE)))
    except grpc.aio.AioRpcError as error:
        print(explain(error), file=sys.stderr)
    except (DamagedError, TimeoutError, OSError) as error:
        print(error, file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
