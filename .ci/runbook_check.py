"""Runs the runbook, deploy/README.md: every command in it, in its order.

The blocks of ```sh run in one bash, from the root of the repository, against a
stack that the runbook itself starts, under a name, on ports and with secrets of
its own. A line `# prints: TEXT` is a line that its block must print, several of
them in that order. The images are there already: STABLEQUEUE_IMAGES and
STABLEQUEUE_TAG name them, as for compose.yaml.

usage: runbook_check.py --tools FOLDER     of grpcurl and kubectl
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from grpcurl_check import Failed, check

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
RUNBOOK = REPOSITORY / "deploy/README.md"
# What it leaves among the sources, outside of version control.
MADE = REPOSITORY / "deploy/kubernetes/overlays/dev/secrets"
PORTS = (
    "JOB_SERVICE_PORT", "JOB_SERVICE_METRICS_PORT", "MODEL_SERVICE_PORT", "MODEL_SERVICE_METRICS_PORT",
)
# How long all of it may take.
RUN_SECONDS = 900
# Written between the blocks, on both streams.
MARK = "@@ block "


def blocks(text):
    """The commands of each block, and the lines that it must print."""
    found = []
    for match in re.finditer(r"^```sh\n(.*?)^```$", text, re.M | re.S):
        block = match.group(1)
        found.append((block, re.findall(r"^# prints: (.*)$", block, re.M)))
    check(len(found) > 5, "hardly a block in", RUNBOOK)
    return found


def script(parts):
    """One bash script of all blocks."""
    lines = ["set -euo pipefail"]
    for number, (block, _) in enumerate(parts):
        lines += [f"echo '{MARK}{number}'", block]
    return "\n".join([*lines, f"echo '{MARK}{len(parts)}'"])


def run(text, environment):
    """Runs the script; answers its exit code and what it said, both streams in one."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(text)
        file.flush()
        process = subprocess.Popen(
            ["bash", file.name],
            cwd=REPOSITORY, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            # With everything that it started.
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            print(said, flush=True)
            raise Failed(f"the runbook did not end within {RUN_SECONDS} s") from None
    return process.returncode, said


def compare(parts, said):
    """Each block printed what the runbook says it prints."""
    outputs = re.split(rf"^{MARK}\d+\n", said, flags=re.M)[1:]
    # The mark behind the last block begins one more.
    check(len(outputs) == len(parts) + 1, "the runbook ended early")
    for (block, wanted), output in zip(parts, outputs[:-1], strict=True):
        lines = iter(output.splitlines())
        for text in wanted:
            check(text in lines, f"{text!r} was not printed by\n{block}\nwhich printed\n{output}")


def free_ports(count):
    """So many ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(each.getsockname()[1]) for each in sockets]


def check_images():
    """The images are there: compose would build those that are not, from all sources."""
    images = os.environ.get("STABLEQUEUE_IMAGES", "stablequeue")
    tag = os.environ.get("STABLEQUEUE_TAG", "latest")
    for program in ("job-service", "model-service", "forge-sim"):
        image = f"{images}/{program}:{tag}"
        found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
        check(found.returncode == 0, "there is no image", image)


@contextlib.contextmanager
def surroundings(tools):
    """What the runbook runs in; whatever it leaves is removed."""
    there = MADE.exists()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "PATH": f"{tools.resolve()}:{os.environ['PATH']}",
            "COMPOSE_PROJECT_NAME": f"runbook-{os.getpid()}",
            "STABLEQUEUE_SECRETS": f"{folder}/secrets",
            **dict(zip(PORTS, free_ports(len(PORTS)), strict=True)),
        }
        try:
            yield environment
        finally:
            remove = ["docker-compose", "-f", "deploy/compose.yaml", "--profile", "forge-sim", "down"]
            subprocess.run(
                [*remove, "--volumes", "--timeout", "1"],
                cwd=REPOSITORY, env=environment, capture_output=True, timeout=RUN_SECONDS, check=False,
            )
            if not there:
                shutil.rmtree(MADE, ignore_errors=True)


def main():
    """Reads the command line and runs the runbook."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tools", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        parts = blocks(RUNBOOK.read_text())
        check_images()
        with surroundings(arguments.tools) as environment:
            code, said = run(script(parts), environment)
        print(said, flush=True)
        check(code == 0, "a command of the runbook failed with", code)
        compare(parts, said)
    except Failed as error:
        raise SystemExit(f"runbook check failed: {error}") from error
    results = sum(len(wanted) for _, wanted in parts)
    print(f"runbook: {len(parts)} blocks ran, {results} stated results hold")


if __name__ == "__main__":
    main()
