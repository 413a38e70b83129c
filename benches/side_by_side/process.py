"""Processes, and what the kernel says they cost."""
import contextlib, glob, os, re, signal, socket, subprocess, time


def clock(pid):
    """Seconds of user and system time of a process, to the nanosecond, ended threads included; 0 if it is gone."""
    with contextlib.suppress(OSError):
        return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
    return 0


def family(roots):
    """The processes and all that descend from them."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path) as file:
            text = file.read()
            children.setdefault(int(text[text.rindex(")") + 2:].split()[1]), []).append(int(path.split("/")[2]))
    found, todo = [], list(roots)
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


class Processes:
    """What serves one purpose: a proxy, with its log writer if it has one."""
    def __init__(self, children):
        self.children = children

    def pids(self):
        return family(child.pid for child in self.children)

    def cpu_seconds(self):
        return sum(map(clock, self.pids()))

    def pss_kib(self):
        """Memory, shared pages counted once."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
                total += int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))
        return total


@contextlib.contextmanager
def started(name, commands, cpus, ports, folder, stdout=None):
    """Runs the commands on these cores until the ports answer; ends them, and nothing else, afterwards."""
    words = f"{folder}/{name}.out"
    children = []
    with open(words, "ab") as out, contextlib.ExitStack() as stack:
        target = stack.enter_context(open(stdout, "ab")) if stdout else out
        for command in commands:
            children.append(subprocess.Popen(["taskset", "-c", cpus, *command], stdout=target, stderr=out, cwd=folder))
    processes = Processes(children)
    try:
        for port in ports:
            _wait(name, port, children, words)
        yield processes
    finally:
        pids = processes.pids()
        for child in reversed(children):
            child.send_signal(signal.SIGTERM)
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for child in children:
            child.wait(5)


def _wait(name, port, children, words):
    for _ in range(300):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        if any(child.poll() is not None for child in children):
            break
        time.sleep(.05)
    with open(words) as file:
        raise SystemExit(f"{name} did not start:\n{file.read()[-2000:]}")
