"""The machine: its cores, who else uses them, and what it is."""
import contextlib, glob, os, re, resource
import process


def placement(workers):
    """Cores of the proxy; cores of the load and the origin. One worker has core 0 to itself, two share both cores."""
    return ("0", "1") if workers == 1 else ("0,1", "0,1")


def busy_seconds():
    """Time that the cores were at work, by whomever."""
    with open("/proc/stat") as file:
        ticks = [int(value) for value in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4] - ticks[7]) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    """CPU time of this program, of the load that it ran, and of the kernel's packet threads, which work for both."""
    us, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return us.ru_utime + us.ru_stime + children.ru_utime + children.ru_stime + sum(map(process.clock, _packet_threads()))


def _packet_threads():
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        with contextlib.suppress(OSError), open(path) as file:
            if file.read().startswith("ksoftirqd/"):
                found.append(int(path.split("/")[2]))
    return found


def raise_limits():
    """As many descriptors as 2,000 resting connections need on both sides; the proxies inherit them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = 20000 if hard == resource.RLIM_INFINITY else min(20000, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < 5000:
        raise SystemExit(f"2,000 idle connections need 5,000 descriptors, and the limit is {wanted}: see ulimit -Hn")


@contextlib.contextmanager
def few_time_waits():
    """Else what new connections cost is the kernel's search for a free port."""
    path = "/proc/sys/net/ipv4/tcp_max_tw_buckets"
    old = None
    with contextlib.suppress(OSError):
        with open(path) as file:
            old = file.read()
        with open(path, "w") as out:
            out.write("2000")
    try:
        yield
    finally:
        if old:
            with contextlib.suppress(OSError), open(path, "w") as out:
                out.write(old)


def description():
    with open("/proc/cpuinfo") as file:
        model = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
    release = re.match(r"\d+\.\d+", os.uname().release).group(0)
    return f"Linux {release}, {os.cpu_count()} cores of {model.group(1) if model else os.uname().machine}"
