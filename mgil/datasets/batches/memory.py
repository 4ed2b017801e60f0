"""How much memory is free, for choosing where decoded images live."""

from __future__ import annotations

import os

# cgroup v2 and v1: (limit, use) of the container that the process runs in.
CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
ASSUMED_FREE_BYTES = 4 << 30  # where the system does not tell


def free_ram_bytes() -> int:
    """Bytes of RAM that this process may still take, the container's limit included."""
    free = [_available(), *(_left_in_group(limit, use) for limit, use in CGROUP_FILES)]
    known = [number for number in free if number is not None]
    return max(min(known, default=ASSUMED_FREE_BYTES), 0)


def _available() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _left_in_group(limit_path: str, use_path: str) -> int | None:
    try:
        with open(limit_path, encoding="ascii") as limit_file, open(use_path, encoding="ascii") as use_file:
            return int(limit_file.read()) - int(use_file.read())
    except (OSError, ValueError):  # no such group, or the word "max"
        return None
