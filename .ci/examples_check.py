"""Runs the example clients against the pair, with authentication on.

Each program gets several runs: one to its image, one during which job-service
is killed and started again, one that begins while it is away, one that is ended
with Ctrl-C, and some that are refused. What the programs say is printed. They
are set up as their READMEs say, in a copy below the folder of tools, so that
nothing is left among the sources.

usage: examples_check.py --programs FOLDER --tools FOLDER
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from grpcurl_check import CALL_SECONDS, Failed, Program, check

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
# How long npm, pip or a compiler may take.
SET_UP_SECONDS = 300
LINTERS = [
    "mypy==2.4.1",
    "ruff==0.17.6",
    "types-grpcio==1.85.0.20261028",
    "types-grpcio-status==1.0.0.20260408",
    "types-protobuf==7.35.1.20260906",
]
STEP_MS = 100
SERVING = r'"serving"[^\n]*"address":"([^"]+)"'
# A generation that is under way says which step it is at.
UNDER_WAY = r"(step \d+ of)"
FAILED = 1
CANCELLED = 130


def run(*command, folder):
    """Runs a command of the set-up, which must work."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder, capture_output=True, text=True, timeout=SET_UP_SECONDS, check=False,
    )
    check(done.returncode == 0, *command, "ended with", done.returncode, done.stdout, done.stderr)


def once(stamp, key, make):
    """Does something unless it was done already for the same key."""
    if not stamp.exists() or stamp.read_text() != key:
        make()
        stamp.write_text(key)


def copied(tools):
    """The examples and the protos beside each other as in the repository."""
    copy = tools / "examples"
    left_out = shutil.ignore_patterns(".venv", "node_modules", "dist", "generated", "stablequeue")
    shutil.copytree(
        REPOSITORY / "deploy/examples", copy / "deploy/examples", dirs_exist_ok=True, ignore=left_out
    )
    shutil.copytree(REPOSITORY / "proto", copy / "proto", dirs_exist_ok=True)
    return copy / "deploy/examples"


def python_client(examples):
    """Sets the Python program up, has it checked, and answers how to run it."""
    folder = examples / "python"
    programs = folder / ".venv/bin"
    requirements = folder / "requirements.txt"

    def install():
        run(sys.executable, "-m", "venv", "--clear", ".venv", folder=folder)
        run(
            programs / "pip", "install", "--quiet", "--disable-pip-version-check",
            "--requirement", requirements, *LINTERS, folder=folder,
        )

    once(folder / ".venv.stamp", requirements.read_text() + "\n".join(LINTERS), install)
    run(programs / "python", "generate.py", folder=folder)
    run(programs / "ruff", "check", folder=folder)
    run(programs / "ruff", "format", "--check", folder=folder)
    run(programs / "mypy", folder=folder)
    return [programs / "python", folder / "paint.py"]


def typescript_client(examples):
    """Sets the TypeScript program up and answers how to run it."""
    folder = examples / "typescript"
    locked = (folder / "package-lock.json").read_text()
    check('"resolved"' not in locked, "package-lock.json names where its packages come from")
    install = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
    once(folder / ".npm.stamp", locked, lambda: run(*install, folder=folder))
    run("npm", "run", "build", folder=folder)
    return ["node", folder / "dist/paint.js"]


class Client(Program):
    """An example program, running."""

    def __init__(self, name, command, log, token):
        self.name = name
        self.log = log
        self.errors = open(log, "w+")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=self.errors, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, "STABLEQUEUE_TOKEN": token},
        )

    def ended(self, wanted):
        """What it said, when it has ended with the wanted exit code."""
        try:
            code = self.process.wait(CALL_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} does not end: {self.log.read_text()}") from None
        finally:
            self.errors.close()
        said = self.log.read_text()
        print(f"--- {self.name}, exit code {code}\n{said}", flush=True)
        check(code == wanted, self.name, "ended with", code, "and not", wanted)
        for traces in ("Traceback", "    at "):
            check(traces not in said, self.name, "broke down")
        return said


class Pair:
    """Both services and a Forge, and the folder they live in."""

    def __init__(self, programs, folder, stack):
        self.programs = programs
        self.folder = folder
        self.stack = stack
        self.data = folder / "data"
        self.generations = folder / "generations.jsonl"
        self.secrets = folder / "secrets"
        run(REPOSITORY / "deploy/make-secrets.sh", self.secrets, folder=folder)
        self.token = (self.secrets / "bootstrap_key").read_text().strip()
        forge = self.start(
            "forge-sim", "--listen", "127.0.0.1:0", "--data-dir", folder / "forge",
            "--step-time-ms", str(STEP_MS), "--load-time-ms", "0", "--log", self.generations,
        )
        models = self.start(
            "model-service", *self.serving("127.0.0.1:0"),
            "--token-file", self.secrets / "model_tokens",
        )
        server = {"alias": "gpu", "apiUrl": forge.said(r"(http://127\.0\.0\.1:\d+)")}
        self.more = [
            "--model-service", f"http://{models.said(SERVING)}",
            "--model-token-file", self.secrets / "model_token",
            "--bootstrap-key-file", self.secrets / "bootstrap_key",
            "--servers", json.dumps([server]),
        ]
        self.address = "127.0.0.1:0"
        self.starts = 0
        self.start_jobs()

    def serving(self, address):
        """What both services are started with."""
        return ["serve", "--data-dir", self.data, "--listen", address, "--metrics-listen", "127.0.0.1:0"]

    def start(self, name, *arguments, log=None):
        """Starts a program that is killed at the end, whatever happens."""
        program = Program(self.programs, name, self.folder / f"{log or name}.log", *arguments)
        self.stack.callback(program.process.kill)
        return program

    def start_jobs(self):
        """Starts job-service where it was before; answers when it listens."""
        self.starts += 1
        self.jobs = self.start(
            "job-service", *self.serving(self.address), *self.more, log=f"job-service-{self.starts}"
        )
        self.address = self.jobs.said(SERVING)

    def kill_jobs(self):
        """Ends job-service as a power cut would."""
        self.jobs.process.send_signal(signal.SIGKILL)
        self.jobs.process.wait(CALL_SECONDS)
        self.jobs.errors.close()


class Example:
    """One example program and where it paints."""

    def __init__(self, name, command, pair):
        self.name = name
        self.command = command
        self.pair = pair
        self.out = pair.folder / name
        self.runs = 0

    def start(self, *arguments, token=None):
        """Starts it with arguments."""
        self.runs += 1
        command = [*self.command, "--address", self.pair.address, "--out", self.out, *arguments]
        log = self.pair.folder / f"{self.name}-{self.runs}.log"
        client = Client(self.name, command, log, token or self.pair.token)
        self.pair.stack.callback(client.process.kill)
        return client

    def painted(self, said, prompt):
        """The one image that a run says it saved; it is the one that job-service keeps."""
        found = re.findall(r"^(\S+\.png) \(64 x 64, seed \d+\)$", said, re.M)
        check(len(found) == 1, "one image, not", found)
        image = pathlib.Path(found[0])
        data = image.read_bytes()
        check(data.startswith(b"\x89PNG") and prompt.encode() in data, image, "is not the picture")
        sha256 = hashlib.sha256(data).hexdigest()
        kept = self.pair.data / "images" / sha256[:2] / f"{sha256}.png"
        check(kept.read_bytes() == data, kept, "is another picture")
        check(not list(self.out.glob("*.part")), "pieces are left in", self.out)
        return image

    def check_painting(self):
        """From a prompt to an image; again with the same id it is the same job."""
        prompt = f"a red fox for {self.name}"
        once_more = [
            "--steps", "10", "--width", "64", "--height", "64", "--request-id", f"fox-{self.name}", prompt,
        ]
        said = self.start(*once_more).ended(0)
        image = self.painted(said, prompt)
        whole = image.read_bytes()
        # As when the program was ended in the middle of the download.
        image.with_suffix(".png.part").write_bytes(whole[: len(whole) // 2])
        image.unlink()
        said = self.start(*once_more).ended(0)
        check(f"from byte {len(whole) // 2} on" in said, "the download began anew")
        check(self.painted(said, prompt) == image, "another job was made")

    def check_restart(self):
        """job-service is killed while the program watches."""
        prompt = f"a blue fox for {self.name}"
        client = self.start("--steps", "90", "--width", "64", "--height", "64", prompt)
        client.said(UNDER_WAY)
        self.pair.kill_jobs()
        client.said(r"(trying again)")
        self.pair.start_jobs()
        said = client.ended(0)
        self.painted(said, prompt)
        check(said.count("claimed on gpu") == 1, "the watch began anew")
        events = [json.loads(line) for line in self.pair.generations.read_text().splitlines()]
        made = [
            each for each in events
            if each["event"] == "started" and each["generation"]["request"]["prompt"] == prompt
        ]
        check(len(made) == 1, "not generated once:", made)

    def check_retry(self):
        """job-service is away when the program hands in its job: gRPC repeats the call."""
        self.pair.kill_jobs()
        prompt = f"a late fox for {self.name}"
        host, port = self.pair.address.rsplit(":", 1)
        with socket.create_server((host, int(port))) as door:
            door.settimeout(CALL_SECONDS)
            client = self.start("--steps", "2", "--width", "64", "--height", "64", prompt)
            door.accept()[0].close()
        self.pair.start_jobs()
        self.painted(client.ended(0), prompt)

    def check_cancel(self):
        """Ctrl-C ends the job, and the program with it."""
        client = self.start("--steps", "150", f"a slow fox for {self.name}")
        client.said(UNDER_WAY)
        client.process.send_signal(signal.SIGINT)
        said = client.ended(CANCELLED)
        check(re.search(r"^cancelled", said, re.M), "the job was not cancelled")

    def check_refusals(self):
        """A wrong key and a bad request are told in words."""
        wrong = self.pair.token[:-8] + "00000000"
        said = self.start("a fox", token=wrong).ended(FAILED)
        check("UNAUTHENTICATED: valid credentials are required" in said, "not told why")
        check(wrong not in said, "the token is shown")
        said = self.start("--steps", "900", "--width", "3", "a fox").ended(FAILED)
        for field in ("params.steps: ", "params.width: "):
            check(f"  {field}" in said, "nothing is said about", field)


def main():
    """Reads the command line and runs the check in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--tools", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        try:
            examples = copied(arguments.tools.resolve())
            commands = {"python": python_client(examples), "typescript": typescript_client(examples)}
            pair = Pair(arguments.programs, pathlib.Path(folder), stack)
            for name, command in commands.items():
                example = Example(name, command, pair)
                example.check_painting()
                example.check_restart()
                example.check_retry()
                example.check_cancel()
                example.check_refusals()
        except (Failed, subprocess.TimeoutExpired) as error:
            raise SystemExit(f"examples check failed: {error}") from error
    print(f"examples: {', '.join(commands)} painted, resumed, cancelled and were refused")


if __name__ == "__main__":
    main()
