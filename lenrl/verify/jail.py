"""The process that runs a model's code, started by `lenrl.verify.sandbox` as a script: standard library alone.

Three processes: this one, which dies with the one that started it; its child, trusted, which ends when the time is
over and takes every process with it; and that one's child, which gives up its rights and runs the code.
"""

import ctypes
import io
import json
import math
import os
import resource
import signal
import sys

USER, MOUNTS, PIDS, NETWORK, IPC, HOST = 0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC, REMOUNT, BIND, RECURSIVE = 1, 2, 4, 8, 32, 4096, 16384  # of mount
PRIVATE = 1 << 18
DETACH = 2  # of umount2
DEATH_SIGNAL, DUMPABLE, SUBREAPER, NO_NEW_PRIVILEGES = 1, 4, 36, 38  # of prctl
NOBODY = 65534
TIMED_OUT = 124  # exit status
MIB = 2**20
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events of ordinary code; any other one ends the process.
HARMLESS = (
    "compile", "exec", "marshal.loads", "builtins.id", "sys._getframe", "object.__getattr__", "object.__setattr__",
    "object.__delattr__", "array.__new__", "sys.excepthook", "sys.unraisablehook", "time.sleep",
)  # fmt: skip
UNSAFE_MODULES = (
    "ctypes", "_ctypes", "_posixsubprocess", "_posixshmem", "_multiprocessing", "_socket", "mmap", "_testcapi",
    "_xxsubinterpreters",
)  # fmt: skip
UNHEARD = ("mkfifo", "mknod")  # functions that make files, and that no audit event announces

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    """A function of the C library.

    Raises:
        OSError: it fails.
    """
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def control(option: int, value: int) -> None:
    """`prctl`, where there is one."""
    if sys.platform == "linux":
        call("prctl", option, *(ctypes.c_ulong(n) for n in (value, 0, 0, 0)))


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    call(
        "mount",
        source.encode(),
        target.encode(),
        kind and kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )


def enter_namespaces() -> bool:
    """Namespaces of its own for users, mounts, processes, network; True: `NOBODY` is a user there.

    User 0 there is the user outside; for root, `NOBODY` is a user that has no other process, so that processes
    are counted. A process that stays outside writes that down.
    """
    outside, (ready, go) = os.getpid(), os.pipe()
    writer = os.fork()
    if not writer:
        os.close(go)
        if not os.read(ready, 1):
            os._exit(1)
        os._exit(2 if write_maps(outside) else 0)
    call("unshare", USER | MOUNTS | PIDS | NETWORK | IPC | HOST)
    os.write(go, b"!")
    os.close(go)
    os.close(ready)
    status = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
    if status not in (0, 2):
        raise PermissionError("the user of the namespace cannot be written")
    for path in (
        "/proc/sys/user/max_user_namespaces",
        "/proc/sys/kernel/shmall",
        "/proc/sys/fs/mqueue/queues_max",
    ):
        try:
            with open(path, "w") as file:
                file.write("0")
        except OSError:  # older kernels: what it would use up ends with it
            pass
    return status == 2


def write_maps(pid: int) -> bool:
    """Users and groups of a process's namespace; True: `NOBODY` is among them."""
    user, group = os.getuid(), os.getgid()
    if user == 0:
        try:
            for kind in ("gid", "uid"):
                with open(f"/proc/{pid}/{kind}_map", "w") as file:
                    file.write(f"0 0 1\n{NOBODY} {2**30 + pid} 1")
            return True
        except OSError:  # root of a container that has few users
            pass
    for name, text in (("setgroups", "deny"), ("gid_map", f"0 {group} 1"), ("uid_map", f"0 {user} 1")):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)
    return False


def new_root(file_mib: int) -> None:
    """A file system that holds shared libraries and Python's, to read, and an empty folder `/tmp`, in memory."""
    root = "/proc"  # any folder that is not needed
    mount("none", "/", None, RECURSIVE | PRIVATE)
    mount("tmpfs", root, "tmpfs", NO_SUID | NO_DEVICES, "size=1m,mode=755")
    for path in dict.fromkeys(["/lib", "/lib64", "/usr/lib", "/usr/lib64", *sys.path]):
        inside = root + path
        if os.path.islink(path):
            os.makedirs(os.path.dirname(inside), exist_ok=True)
            os.symlink(os.readlink(path), inside)
        elif os.path.isdir(path) and not os.path.isdir(inside):
            os.makedirs(inside)
            mount(path, inside, None, BIND | RECURSIVE)
            mount("none", inside, None, BIND | REMOUNT | READ_ONLY | NO_SUID | NO_DEVICES)
    os.mkdir(f"{root}/tmp")
    options = f"size={file_mib}m,nr_inodes=1000,mode=1777"
    mount("tmpfs", f"{root}/tmp", "tmpfs", NO_SUID | NO_DEVICES | NO_EXEC, options)
    mount("none", root, None, BIND | REMOUNT | READ_ONLY | NO_SUID | NO_DEVICES)
    os.chdir(root)
    call("pivot_root", b".", b".")
    call("umount2", b".", DETACH)
    os.chdir("/tmp")


def give_up_rights(as_nobody: bool) -> None:
    """No capability is left, and none can be had again."""
    if as_nobody:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    control(NO_NEW_PRIVILEGES, 1)
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    call("capset", ctypes.byref(header), ctypes.byref(none))


def limit(limits: dict[str, float], processes: int) -> None:
    """Limits of each process that the code may start."""
    seconds = math.ceil(limits["seconds"]) + 1  # the clock ends it earlier
    for name, most in (
        ("CORE", 0),
        ("CPU", seconds),
        ("AS", limits["memory_mib"] * MIB),
        ("FSIZE", limits["file_mib"] * MIB),
        ("NOFILE", limits["open_files"]),
        ("NPROC", processes),
    ):
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(most), int(most)))


def forbid() -> None:
    """An audit hook ends the process at whatever is not plain computing or an import from Python's own folders.

    What the hook goes by is its own: the code can change this module and the built-in functions.
    """
    folders, leave, text, kind = tuple(path + "/" for path in sys.path), os._exit, str, type
    harmless, unsafe, writes = frozenset(HARMLESS), frozenset(UNSAFE_MODULES), WRITES

    def inside(path: object) -> bool:
        return kind(path) is text and (path + "/").startswith(folders) and ".." not in path

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            allowed = inside(path) and not flags & writes
        elif event in ("os.listdir", "os.scandir"):
            allowed = inside(arguments[0])
        elif event == "import":
            name = arguments[0]  # of an extension module: any package before it
            allowed = kind(name) is text and name.rpartition(".")[2] not in unsafe
        else:
            allowed = event in harmless
        if not allowed:
            leave(1)

    for name in [name for name in sys.modules if name.partition(".")[0] in ("ctypes", "_ctypes", "resource")]:
        del sys.modules[name]
    for name in ("ctypes", "libc"):
        del globals()[name]
    for name in UNHEARD:
        delattr(os, name)
        delattr(sys.modules["posix"], name)
    sys.addaudithook(hook)


def run(code: str, calls: list, results: io.TextIOBase) -> None:
    """Write a line a call to `results`: `[value]`, or null where it raises or its value is not JSON."""
    names: dict[str, object] = {"__name__": "candidate"}
    exec(compile(code, "candidate", "exec"), names)
    for name, arguments in calls:
        try:
            line = json.dumps([names[name](*arguments)])  # type: ignore[operator]
        except BaseException:  # SystemExit too: the other calls are tried
            line = "null"
        results.write(line + "\n")
        results.flush()


def guard(seconds: float) -> None:
    """Be the trusted one: wait for the code's process until the time is over; nothing outlives this."""

    def over(*_: object) -> None:
        end_all()
        os._exit(TIMED_OUT)

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def end_all() -> None:
    """Kill every process that came out of this one; orphans are its children."""
    try:
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for pid in file.read().split():
                    os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)
    except OSError:  # no children; or a namespace, which ends with its first process
        pass


def main() -> None:
    order = json.load(sys.stdin)
    limits, namespaces = order["limits"], order["isolation"] == "namespaces"
    results, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    as_nobody = False
    try:
        control(DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != order["parent"]:
            return
        if namespaces:
            as_nobody = enter_namespaces()
            new_root(limits["file_mib"])
    except (OSError, AttributeError) as error:
        os.write(results, json.dumps(str(error)).encode() + b"\n")
        return
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    trusted = os.fork()
    if trusted:
        os.close(results)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(trusted, 0)[1]) & 255)
    for option, value in ((DEATH_SIGNAL, signal.SIGKILL), (DUMPABLE, 0), (SUBREAPER, 1)):
        control(option, value)
    guard(limits["seconds"])
    os.write(results, b"true\n")
    candidate = os.fork()
    if candidate:
        os.close(results)
        os.waitpid(candidate, 0)
        end_all()
        os._exit(0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.setsid()
    file = os.fdopen(results, "w")
    limit(limits, limits["processes"] + (2 if namespaces and not as_nobody else 0))
    if namespaces:
        give_up_rights(as_nobody)
    control(DEATH_SIGNAL, signal.SIGKILL)
    if not namespaces:
        forbid()
    try:
        run(order["code"], order["calls"], file)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
