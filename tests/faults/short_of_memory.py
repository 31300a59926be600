"""A stage with little memory beside its libraries: `python -m tests.faults.short_of_memory MB STAGE ARGUMENTS…`."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

from wsss.__main__ import main
from wsss.cli.stage_commands import load_stage

if __name__ == "__main__":
    megabytes, stage = int(sys.argv[1]), sys.argv[2]
    load_stage(stage)
    has = int(re.search(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (has + megabytes * 1_000_000, resource.RLIM_INFINITY))
    main(sys.argv[2:])
