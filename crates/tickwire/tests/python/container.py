"""Becomes a program in a container, as far as that is possible without a runtime. Needs root.

The argument is JSON: "program", its "args" and "env", "folders" of the container with the folder of the machine that each
stands for, and the number "user". The program has a root of its own that nobody can write to, no capabilities and no way to
get any, and a filter of system calls that forbids io_uring as the filters of container runtimes do. It keeps the process id
of this script.
"""

import ctypes
import json
import os
import platform
import struct
import sys
import tempfile

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 24, 38, 22, 2
# io_uring_setup, io_uring_enter, io_uring_register: the same numbers on all architectures.
IO_URING = [425, 426, 427]
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# What the image has beside the program: the C library, and what the kernel shows.
PARTS = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/proc", "/dev/null", "/dev/urandom"]

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags):
    check(libc.mount(source.encode(), target.encode(), kind, flags, None), f"mount {source} on {target}")


def bind(source, target):
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "w").close()
    mount(source, target, None, MS_BIND | MS_REC)
    mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID)


def filter_system_calls():
    """See seccomp(2): 0x20 loads a word, 0x15 compares and jumps, 0x06 returns."""
    forbid, allow = 0x00050000 | 1, 0x7FFF0000  # EPERM
    program = [(0x20, 0, 0, 4), (0x15, 0, len(IO_URING) + 2, AUDIT_ARCH[platform.machine()]), (0x20, 0, 0, 0)]
    program += [(0x15, len(IO_URING) - at, 0, number) for at, number in enumerate(IO_URING)]
    program += [(0x06, 0, 0, allow), (0x06, 0, 0, forbid)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0), "a filter of system calls")


def main():
    plan = json.loads(sys.argv[1])
    check(libc.unshare(CLONE_NEWNS), "a namespace of mounts")
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    root = tempfile.gettempdir()
    # This covers the folder in this namespace only.
    sources = {inside: os.open(outside, os.O_PATH) for inside, outside in plan["folders"].items()}
    sources["/usr/local/bin/tickwire"] = os.open(plan["program"], os.O_PATH)
    mount("none", root, b"tmpfs", MS_NOSUID | MS_NODEV)
    os.chmod(root, 0o755)
    for part in PARTS:
        if os.path.islink(part):
            os.symlink(os.readlink(part), root + part)
        elif os.path.exists(part):
            bind(part, root + part)
    for inside, source in sources.items():
        bind(f"/proc/self/fd/{source}", root + inside)
        os.close(source)
    mount("none", root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    os.chroot(root)
    os.chdir("/")
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setgid(plan["user"])
    os.setuid(plan["user"])
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    filter_system_calls()
    os.execve("/usr/local/bin/tickwire", ["tickwire", *plan["args"]], plan["env"])


main()
