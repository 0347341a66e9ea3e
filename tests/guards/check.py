#!/usr/bin/env python3
"""Takes each guard out in turn and shows that its test notices.

guards.toml lists them: a text of a source file that is there once, what stands
in its place without the guard, and the test that must fail then. Works on a
copy of the last commit, with a target folder of its own, which nothing else
may build in meanwhile: two copies of one crate are not told apart there. Every
guard costs a build of one crate and of one test.

    python3 tests/guards/check.py [--only NAME]... [--uncommitted] [--copy DIR]
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
# A test that waits in vain ends by itself long before.
TEST_SECONDS = 900
BUILD_SECONDS = 3600


def run(command, cwd, env, seconds):
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        timeout=seconds,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def copied(to, uncommitted):
    """The last commit, or the files as they are now."""
    if not uncommitted:
        subprocess.run(["git", "clone", "--quiet", str(REPO), str(to)], check=True)
        return
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE).stdout
    for name in {os.fsdecode(name) for name in listed.split(b"\0") if name}:
        source = REPO / name
        if source.is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, to / name)


class Bench:
    """The copy on which guards are taken out."""

    def __init__(self, copy, guards):
        self.copy = copy
        target = os.environ.get("CARGO_TARGET_DIR", str(REPO / "target" / "guards"))
        self.env = dict(os.environ, CARGO_TARGET_DIR=target)
        # All of them in each build: what they share is built alike then, once.
        packages = sorted({guard["package"] for guard in guards})
        self.packages = [word for name in packages for word in ("-p", name)]

    def cargo_test(self, guard, *last):
        binary = ["--lib"] if guard["binary"] == "lib" else ["--test", guard["binary"]]
        return ["cargo", "test", "--quiet", "--locked", *self.packages, *binary, *last]

    def builds(self, guard):
        done = run(self.cargo_test(guard, "--no-run"), self.copy, self.env, BUILD_SECONDS)
        if done.returncode != 0:
            print(done.stdout)
        return done.returncode == 0

    def passes(self, guard):
        command = self.cargo_test(guard, "--", "--exact", guard["test"])
        done = run(command, self.copy, self.env, TEST_SECONDS)
        if "1 passed" not in done.stdout and "1 failed" not in done.stdout:
            print(done.stdout)
            sys.exit(f"{guard['name']}: there is no test {guard['test']}")
        return done.returncode == 0

    def wrong_with(self, guard):
        """What speaks against a guard before it is taken out."""
        times = (self.copy / guard["file"]).read_text(encoding="utf-8").count(guard["find"])
        if times != 1:
            return f"its text is {times} times in {guard['file']}"
        if not self.builds(guard) or not self.passes(guard):
            return "its test fails with the guard in place"
        return None

    def wrong_without(self, guard):
        """What is wrong without a guard; None when its test notices."""
        path = self.copy / guard["file"]
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole.replace(guard["find"], guard["replace"]), encoding="utf-8")
        try:
            if not self.builds(guard):
                return "without it nothing can be built"
            return "its test passes without it" if self.passes(guard) else None
        finally:
            path.write_text(whole, encoding="utf-8")


def try_all(bench, guards):
    """The names of the guards whose absence no test noticed."""
    unnoticed = []

    def told(guard, wrong, began):
        words = f"WRONG: {wrong}" if wrong else f"noticed by {guard['test']}"
        print(f"{guard['name']}: {words} ({time.monotonic() - began:.0f} s)", flush=True)
        if wrong:
            unnoticed.append(guard["name"])

    began = time.monotonic()
    sound = []
    # All of them first: so the unchanged sources are built once.
    for guard in guards:
        wrong = bench.wrong_with(guard)
        if wrong:
            told(guard, wrong, began)
        else:
            sound.append(guard)
    seconds = time.monotonic() - began
    print(f"with every guard in place {len(sound)} of {len(guards)} tests pass ({seconds:.0f} s)",
          flush=True)
    for guard in sound:
        began = time.monotonic()
        told(guard, bench.wrong_without(guard), began)
    return unnoticed


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--only", action="append", default=[], metavar="NAME")
    arguments.add_argument("--uncommitted", action="store_true",
                           help="copy the files as they are now, not the last commit")
    arguments.add_argument("--copy", metavar="DIR", help="where the copy is made and kept")
    options = arguments.parse_args()
    with open(HERE / "guards.toml", "rb") as file:
        every = tomllib.load(file)["guard"]
    guards = [guard for guard in every if not options.only or guard["name"] in options.only]
    unknown = set(options.only) - {guard["name"] for guard in every}
    if unknown:
        sys.exit(f"no guard has the name {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(options.copy or folder) / "copy"
        if not copy.exists():
            copied(copy, options.uncommitted)
        unnoticed = try_all(Bench(copy, every), guards)
    print(f"{len(guards)} guards, {len(guards) - len(unnoticed)} noticed when they are taken out")
    if unnoticed:
        sys.exit(f"not noticed: {', '.join(unnoticed)}")


if __name__ == "__main__":
    main()
