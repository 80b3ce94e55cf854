"""What makes an agent's machine slow or short of something: a library that its unit loads, switched by files below /run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

#: Where it is in a host.
LIBRARY = "/usr/local/lib/shortage.so"

#: While it is there, each fsync takes a second.
SLOW_DISK = "/run/slow-disk"

#: While it is there, no process and no thread can be started.
NO_TASKS = "/run/no-tasks"

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <unistd.h>

#define IS_SHORT (access("NO_TASKS", F_OK) == 0)
#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

int fsync(int fd) {
    if (access("SLOW_DISK", F_OK) == 0)
        usleep(999999);
    return REAL(fsync)(fd);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    return IS_SHORT ? EAGAIN : REAL(pthread_create)(thread, attributes, run, argument);
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[]) {
    return IS_SHORT ? EAGAIN : REAL(posix_spawnp)(pid, file, actions, attributes, argv, envp);
}

pid_t fork(void) {
    if (!IS_SHORT)
        return REAL(fork)();
    errno = EAGAIN;
    return -1;
}
"""


def install(machine: Any, folder: Path) -> str:
    """Compiles the library in a folder of this machine, puts it into a host, and returns the line of a drop-in for the unit
    that is to load it."""
    source, library = folder / "shortage.c", folder / "shortage.so"
    source.write_text(_SOURCE.replace("NO_TASKS", NO_TASKS).replace("SLOW_DISK", SLOW_DISK))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    machine.copy_from_host(str(library), LIBRARY)
    return f"Environment=LD_PRELOAD={LIBRARY}"
