"""The load, and the quiet that a measurement needs."""
import contextlib, os, re, resource, socket, subprocess, time

UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}


def wrk(bench, path, connections, seconds, headers):
    """Requests that were answered, and latencies in microseconds."""
    command = ["taskset", "-c", bench.load_cpus, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for header in ["X-CDN-Provider: cloudfront", f"X-CDN-Secret: {bench.SECRET}", "Accept: text/html,*/*",
                   "User-Agent: Mozilla/5.0 (X11; Linux x86_64) bench", *headers]:
        command += ["-H", header]
    out = subprocess.run([*command, f"http://127.0.0.1:{bench.port}{path}"], capture_output=True, text=True).stdout
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    percentile = lambda p: (lambda m: float(m.group(1)) * UNITS[m.group(2)])(re.search(rf"{p}%\s+([\d.]+)(us|ms|s|m)", out))
    failed = re.search(r"Socket errors: (.*)", out)
    if failed and not re.fullmatch(r"connect 0, read 0, write 0, timeout 0", failed.group(1)):
        raise SystemExit(f"the load met errors: {failed.group(1)}")
    return {"requests": requests, "per_second": requests / seconds, "p50_us": percentile(50), "p99_us": percentile(99)}


def idle_kib(process, bench, count=2000):
    """What connections cost that have had one answer and rest: PSS after, less PSS before."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (20000, 20000))
    request = (f"GET /img/1k.jpg HTTP/1.1\r\nHost: localhost\r\nX-CDN-Provider: cloudfront\r\n"
               f"X-CDN-Secret: {bench.SECRET}\r\n\r\n").encode()

    def connect():
        connection = socket.create_connection(("127.0.0.1", bench.port), 5)
        connection.sendall(request)
        got = b""
        while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 1024:
            got += connection.recv(65536) or exit("a connection was closed")
        return connection

    warm = [connect() for _ in range(50)]
    time.sleep(.3)
    before = process.pss_kib()
    held = [connect() for _ in range(count)]
    time.sleep(1)
    after = process.pss_kib()
    for connection in warm + held:
        connection.close()
    return after - before


def _busy():
    ticks = [int(value) for value in open("/proc/stat").readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4] - ticks[7]


def wait_until_quiet(patience=60):
    """Waits while something else keeps the cores busy."""
    end = time.time() + patience
    while time.time() < end:
        before = _busy()
        time.sleep(.4)
        if _busy() - before <= 4:
            return
        time.sleep(.5)


@contextlib.contextmanager
def few_time_waits():
    """Else what new connections cost is the kernel's search for a free port."""
    path = "/proc/sys/net/ipv4/tcp_max_tw_buckets"
    old = None
    with contextlib.suppress(OSError):
        old = open(path).read()
        open(path, "w").write("2000")
    try:
        yield
    finally:
        if old:
            with contextlib.suppress(OSError):
                open(path, "w").write(old)
