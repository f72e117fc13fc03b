"""Measurements in processes of their own: one that dies or hangs is a note in the table."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

Result = dict[str, Any]


def child(script: str, timeout: float, *arguments: str) -> Result:
    """The last line that ``script --child ARGUMENTS`` prints, or a note that says why none."""
    command = [sys.executable, script, "--child", *arguments]
    try:
        done = subprocess.run(command, timeout=timeout, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired:
        return {"note": f"more than {timeout:.0f} s"}
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"note": f"fails ({last_line[:160]})"}
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result
