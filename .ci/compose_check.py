"""Runs the compose stack of deploy/ and lets it be killed.

Brings the stack up with its stand-in for Forge, runs one job through the
published port with the first key, then kills the process in each container, and
in both services at once, while jobs are queued and running. In the end every
job is completed exactly once, by what job-service says and by what the stand-in
says it generated, and no log holds a secret.

The images must be there, and the engine must run on this machine.

usage: compose_check.py --grpcurl PROGRAM --docker PROGRAM
"""

import argparse
import base64
import contextlib
import hashlib
import io
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import tarfile
import tempfile
import time
import zlib

from grpcurl_check import Failed, check, values

DEPLOY = pathlib.Path("deploy")
PROJECT = "stablequeue-check"
JOBS = "stablequeue.jobs.v1.JobService"
HEALTH = "grpc.health.v1.Health/Check"
# How long a container may take to be healthy, one job to be over, and one
# command to end.
START_SECONDS = 90
JOB_SECONDS = 120
COMMAND_SECONDS = 180
# Pause between two looks at something that must come.
LOOK_SECONDS = 0.2
# Jobs of one round of killing, and sampling steps of each (40 ms one).
ROUND_JOBS = 4
STEPS = 20
ROUNDS = (
    ("model-service",),
    ("job-service",),
    ("forge-sim",),
    ("job-service", "model-service"),
)
LOST = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED")
PNG_MARK = b"\x89PNG\r\n\x1a\n"


def say(*words):
    """Tells how far the check is."""
    print("   ", *words, flush=True)


def run(*command, env=None, wanted=0, text=True):
    """What a command prints; it must end as wanted (None: as it likes)."""
    done = subprocess.run(
        command, env=env, capture_output=True, text=text, timeout=COMMAND_SECONDS, check=False
    )
    good = wanted is None or done.returncode == wanted
    check(good, *command, "ended with", done.returncode, done.stdout, done.stderr)
    return done.stdout


def until(what, seconds, look):
    """Looks again and again until something is there, and answers it."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        check(time.monotonic() < end, "not within", seconds, "s:", what)
        time.sleep(LOOK_SECONDS)


def free_port():
    """A port of loopback that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Stack:
    """The compose stack, up."""

    def __init__(self, docker, secrets):
        self.docker = docker
        self.port = free_port()
        self.env = {
            **os.environ,
            "STABLEQUEUE_SECRETS": str(secrets),
            "STABLEQUEUE_SERVERS": '[{"alias": "forge-sim", "apiUrl": "http://forge-sim:7860"}]',
            "JOB_SERVICE_PORT": str(self.port),
            "JOB_SERVICE_METRICS_PORT": str(free_port()),
            "MODEL_SERVICE_PORT": str(free_port()),
            "MODEL_SERVICE_METRICS_PORT": str(free_port()),
        }

    def compose(self, *arguments, wanted=0):
        """A command of docker-compose on this stack."""
        file = DEPLOY / "compose.yaml"
        head = ("docker-compose", "--file", file, "--project-name", PROJECT)
        return run(*head, "--profile", "forge-sim", *arguments, env=self.env, wanted=wanted)

    def container(self, service):
        """The id of the container of a service."""
        return self.compose("ps", "--quiet", service).strip()

    def state(self, service):
        """What the engine knows of the state of a container."""
        container = json.loads(run(self.docker, "inspect", self.container(service)))[0]
        return {**container["State"], "restarts": container["RestartCount"]}

    def wait_healthy(self, service):
        """Waits until the engine calls a container healthy."""
        def healthy():
            state = self.state(service)
            return state["Running"] and state["Health"]["Status"] == "healthy"

        until(f"{service} is healthy", START_SECONDS, healthy)

    def kill(self, services):
        """Kills the process in each container at once, as a crash does: the
        engine does not know that it was meant, and starts it again."""
        before = {service: self.state(service) for service in services}
        for state in before.values():
            os.kill(state["Pid"], signal.SIGKILL)
        for service, state in before.items():
            def restarted(service=service, restarts=state["restarts"]):
                now = self.state(service)
                return now["Running"] and now["restarts"] > restarts

            until(f"{service} is started again", START_SECONDS, restarted)

    def file(self, service, path):
        """The bytes of a file in a container."""
        packed = run(self.docker, "cp", f"{self.container(service)}:{path}", "-", text=False)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            return archive.extractfile(archive.next()).read()

    def logs(self):
        """Everything that the containers have said."""
        return self.compose("logs", "--no-color")


class Jobs:
    """job-service, called through its published port."""

    def __init__(self, grpcurl, address, token):
        self.grpcurl = grpcurl
        self.address = address
        self.token = token

    def call(self, method, request=None, wanted=0):
        """The messages of an answer; with `wanted` None, None when it fails."""
        command = [self.grpcurl, "-plaintext", "-max-time", str(JOB_SECONDS)]
        command += ["-H", f"authorization: Bearer {self.token}"]
        command += ["-d", json.dumps(request or {}), self.address]
        command += [method if "/" in method else f"{JOBS}/{method}"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        if wanted is None and done.returncode != 0:
            return None
        check(done.returncode == 0, method, done.returncode, done.stdout, done.stderr)
        return values(done.stdout)

    def refused(self):
        """Whether a call is answered as one without good credentials."""
        command = [self.grpcurl, "-plaintext", "-max-time", str(JOB_SECONDS)]
        command += ["-H", f"authorization: Bearer {self.token}", self.address, f"{JOBS}/ListJobs"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
        return done.returncode != 0 and "Unauthenticated" in done.stderr

    def serving(self):
        """Whether calls get through."""
        answer = self.call(HEALTH, wanted=None)
        return answer == [{"status": "SERVING"}]

    def submit(self, prompt):
        """Takes a job, and answers its id."""
        params = {"prompt": prompt, "steps": STEPS, "width": 64, "height": 64, "seed": "0"}
        request = {"params": params, "requestId": prompt}
        return self.call("SubmitJob", request)[0]["job"]["jobId"]

    def job(self, job_id):
        """A job as it is; None while the service is away."""
        answer = self.call("GetJob", {"jobId": job_id}, wanted=None)
        return answer and answer[0]["job"]

    def state(self, job_id):
        """The state of a job; None while the service is away."""
        job = self.job(job_id)
        return job and job["state"]

    def all(self):
        """All jobs, oldest first."""
        request = {"order": "JOB_ORDER_CREATE_TIME_ASC", "pageSize": 1000}
        return self.call("ListJobs", request)[0]["jobs"]

    def wait(self, job_id):
        """Waits until a job is completed, over any number of restarts."""
        def completed():
            state = self.state(job_id)
            check(state not in LOST, job_id, "is", state)
            return state == "JOB_STATE_COMPLETED"

        until(f"job {job_id} is completed", JOB_SECONDS, completed)


def check_png(data):
    """These bytes are a whole PNG of the size that was asked for."""
    check(data.startswith(PNG_MARK), "not a PNG:", data[:16])
    at, pixels, kinds = len(PNG_MARK), b"", []
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + size]
        (crc,) = struct.unpack_from(">I", data, at + 8 + size)
        check(crc == zlib.crc32(kind + content), "a chunk of the PNG is damaged:", kind)
        kinds.append(kind)
        pixels += content if kind == b"IDAT" else b""
        at += 12 + size
    check(kinds[0] == b"IHDR" and kinds[-1] == b"IEND", "not a whole PNG:", kinds)
    check(struct.unpack_from(">II", data, 16) == (64, 64), "not 64 by 64:", data[16:24])
    check(len(zlib.decompress(pixels)) >= 64 * 64 * 3, "too few pixels")


def run_one_job(jobs):
    """One job through the published port, to the bytes of its picture."""
    job_id = jobs.submit("the first")
    jobs.wait(job_id)
    chunks = jobs.call("DownloadImage", {"jobId": job_id})
    data = b"".join(base64.b64decode(each.get("data", "")) for each in chunks)
    check(hashlib.sha256(data).hexdigest() == chunks[0]["image"]["sha256"], "another picture")
    check_png(data)
    say("a job came through:", len(data), "bytes of PNG")


def kill_under_load(stack, jobs, number, services):
    """Kills while one job runs and others wait; all of them are completed."""
    begun = time.monotonic()
    prompts = [f"round {number}, job {at}" for at in range(ROUND_JOBS)]
    ids = [jobs.submit(prompt) for prompt in prompts]
    until(
        "a job of the round runs",
        JOB_SECONDS,
        lambda: any(jobs.state(each) == "JOB_STATE_PROCESSING" for each in ids),
    )
    stack.kill(services)
    until("calls get through again", START_SECONDS, jobs.serving)
    # The answers of before the kill hold: a repeated call finds its job.
    check(jobs.submit(prompts[0]) == ids[0], "a job was forgotten")
    for each in ids:
        jobs.wait(each)
    say(f"killed {' and '.join(services)}: all jobs completed, {time.monotonic() - begun:.1f} s")
    return prompts


def generations(stack):
    """What the stand-in generated, by its own log: the process, the prompt,
    when it began and ended, and how. A process that was killed could not say
    when what it was at ended: that was before the next process began."""
    entries = {}
    for line in stack.file("forge-sim", "/data/generations.jsonl").decode().splitlines():
        generation = json.loads(line)["generation"]
        entries[generation["app_id"], generation["number"]] = generation
    ordered = sorted(entries.values(), key=lambda each: each["started_unix_ms"])
    for at, each in enumerate(ordered):
        if each["ended_unix_ms"] is None:
            following = ordered[at + 1 : at + 2]
            check(following, "a generation has no end:", each)
            check(following[0]["app_id"] != each["app_id"], "two at one time:", each)
            each["ended_unix_ms"] = following[0]["started_unix_ms"]
            each["outcome"] = "killed"
    return ordered


def check_nothing_twice(stack, jobs, prompts):
    """Every job is completed once, and no two of its generations overlap."""
    listed = jobs.all()
    check(len(listed) == len(prompts), "submitted", len(prompts), "but there are", len(listed))
    states = {each["state"] for each in listed}
    check(states == {"JOB_STATE_COMPLETED"}, "not all are completed:", states)
    for job in listed:
        images = jobs.call("ListJobImages", {"jobId": job["jobId"]})[0].get("images", [])
        check(len(images) == 1, "a job has", len(images), "images:", job)
    made = generations(stack)
    by_prompt = {prompt: [] for prompt in prompts}
    for each in made:
        by_prompt[each["request"]["prompt"]].append(each)
    for prompt, several in by_prompt.items():
        outcomes = [(each["app_id"], each["outcome"]) for each in several]
        completed = [each for each in outcomes if each[1] == "completed"]
        # Only a stand-in that was killed before its answer came through may have
        # completed what its successor had to make again.
        once = len(set(completed)) == len(completed) > 0
        check(once, prompt, "was generated as", outcomes)
        check({each[1] for each in outcomes} <= {"completed", "killed"}, prompt, outcomes)
        for earlier, later in zip(several, several[1:]):
            apart = earlier["ended_unix_ms"] <= later["started_unix_ms"]
            check(apart, "two generations of one job at one time:", earlier, later)
    say(len(listed), "jobs completed once each, by", len(made), "generations")


def check_no_secret(stack, secrets):
    """Neither logs nor the printed settings hold a secret."""
    said = stack.logs()
    check(len(said) > 1000, "there are hardly any logs:", said)
    for service in ("job-service", "model-service"):
        said += run(stack.docker, "exec", stack.container(service), service, "print-config")
    for name in ("bootstrap_key", "model_token"):
        secret = (secrets / name).read_text().strip().rsplit("_", 1)[1]
        check(secret not in said, name, "can be read in what the services say")


def check_all(arguments, stack, secrets):
    """Everything, in order."""
    begun = time.monotonic()
    stack.compose("up", "--detach", "--no-build")
    for service in ("model-service", "job-service", "forge-sim"):
        stack.wait_healthy(service)
    say(f"the stack is healthy after {time.monotonic() - begun:.1f} s")
    token = (secrets / "bootstrap_key").read_text().strip()
    jobs = Jobs(arguments.grpcurl, f"127.0.0.1:{stack.port}", token)
    check(jobs.serving(), "health is not told through the published port")
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    check(Jobs(arguments.grpcurl, jobs.address, wrong).refused(), "a wrong key may call")
    run_one_job(jobs)
    prompts = ["the first"]
    for number, services in enumerate(ROUNDS):
        prompts += kill_under_load(stack, jobs, number, services)
    check_nothing_twice(stack, jobs, prompts)
    check_no_secret(stack, secrets)
    stack.compose("stop")
    for service in ("job-service", "model-service", "forge-sim"):
        state = stack.state(service)
        check(state["ExitCode"] == 0, service, "ended with", state["ExitCode"])


def main():
    """Reads the command line, and leaves nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grpcurl", required=True)
    parser.add_argument("--docker", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack_of:
        secrets = pathlib.Path(folder) / "secrets"
        run(DEPLOY / "make-secrets.sh", secrets)
        stack = Stack(arguments.docker, secrets)
        stack_of.callback(stack.compose, "down", "--volumes", "--timeout", "5", wanted=None)
        try:
            check_all(arguments, stack, secrets)
        except (Failed, subprocess.TimeoutExpired) as error:
            logs = stack.compose("logs", "--no-color", "--tail", "60", wanted=None)
            raise SystemExit(f"compose check failed: {error}\n{logs}") from error


if __name__ == "__main__":
    main()
