"""Runs programs alone: each in a process that has imported torch and nnprof, and no more.

To start Python, import torch and end takes seconds. So one process does that once, and forks for
each program that is to be run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["Starter"]

#: Reads a request a line; the fork leaves the loop and is as `python -W error -c program` is, but
#: ends without taking torch down, object by object.
STARTER = """
import json, os, sys, traceback
import torch, nnprof

for line in sys.stdin:
    program, arguments, output, errors = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
for number, path in enumerate((os.devnull, output, errors)):
    os.dup2(os.open(path, os.O_RDWR), number)
sys.argv = ["-c", *arguments]
code = 1
try:
    exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    code = 0
except SystemExit as end:
    code = int(end.code or 0)
except BaseException:
    traceback.print_exc()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


class Starter:
    """Starts programs. Its own process begins with the first of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What became of ``program``, for which every warning is an error."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("output", "errors")]
            for file in files:
                file.touch()
            code = self._ask([program, arguments, *map(str, files)])
            texts = [file.read_text(encoding="utf-8") for file in files]
        return subprocess.CompletedProcess(["-c", *arguments], code, *texts)

    def _ask(self, request: list[object]) -> int:
        if self._process is None:
            command = [sys.executable, "-W", "error", "-c", STARTER]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        """Ends the process that starts them."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
