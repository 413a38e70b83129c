"""The load: h2load for kept connections of every protocol, wrk where connections are closed."""
import contextlib, math, os, re, subprocess, time
import place as asked

WARM = .2                          # seconds before the window opens: connections, pools, buffers
HEADERS = ["X-CDN-Provider: cloudfront", f"X-CDN-Secret: {asked.SECRET}", "Accept: text/html,*/*",
           "User-Agent: Mozilla/5.0 (X11; Linux x86_64) bench"]


class Failed(Exception):
    """The load was not answered as it should have been."""


def url(place, scenario):
    scheme, port = ("https", place.tls_port) if scenario.tls else ("http", place.port)
    return f"{scheme}://127.0.0.1:{port}{scenario.path}"


def headers(scenario):
    return HEADERS + (["Accept-Encoding: gzip"] if scenario.gzip else [])


def saturated(place, scenario, cpus, seconds, clock):
    """As many pulls as the proxy takes: how many were done in the window, and what the clock went on by."""
    # h2load does not end where it has to connect again.
    if scenario.connections_end():
        return _wrk(place, scenario, cpus, seconds, clock)
    record = f"{place.folder}/h2load.log"
    # What is under way when the window closes must come to its end to be counted.
    tail = max(WARM, scenario.connections * scenario.streams / scenario.rate)
    with _h2load(place, scenario, cpus, record, "-c", scenario.connections, "-m", scenario.streams,
                 "-D", f"{round((WARM + seconds + tail) * 1000)}ms") as load:
        time.sleep(WARM)
        opened, before = time.time(), clock()
        time.sleep(seconds)
        closed, after = time.time(), clock()
        _end(load)
    # A pull counts by the part of it that lies within the window, so that slow ones at its edges do not distort.
    pulls = sum(max(0, min(closed, began + took) - max(opened, began)) / took for began, took in _answers(record, scenario))
    if not pulls:
        raise Failed("no pull was under way in the window and came to its end")
    return pulls, closed - opened, after - before


def at_rate(place, scenario, cpus, seconds):
    """Latencies in microseconds of pulls that come at the scenario's rate, whatever the proxy does."""
    record = f"{place.folder}/h2load.log"
    clients = min(32, scenario.connections)
    apart = max(1, round(1000 / scenario.rate))
    warm, seconds = max(WARM, clients * apart / 1000), max(seconds, 50 / scenario.rate)
    # Clients begin so many milliseconds apart, since those that begin together go on pulling together.
    with _h2load(place, scenario, cpus, record, "-c", clients, "-r", 1, f"--rate-period={apart}ms", f"--rps={scenario.rate / clients:g}",
                 "-n", math.ceil(scenario.rate * (warm + seconds) / clients) * clients) as load:
        _end(load)
    answers = _answers(record, scenario)
    start = min(began for began, _ in answers) + warm
    return [took * 1e6 for began, took in answers if began >= start]


@contextlib.contextmanager
def _h2load(place, scenario, cpus, record, *options):
    with contextlib.suppress(FileNotFoundError):
        os.remove(record)
    command = ["taskset", "-c", cpus, "h2load", "-t1", "--tls13-ciphers=TLS_AES_128_GCM_SHA256", f"--log-file={record}",
               *([] if scenario.h2 else ["--h1"]), *map(str, options)]
    for header in headers(scenario):
        command += ["-H", header]
    load = subprocess.Popen([*command, url(place, scenario)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield load
    finally:
        load.kill()
        load.wait()


def _end(load):
    try:
        said = load.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired:
        raise Failed("the load did not come to an end") from None
    # A 503 is among those that failed; which statuses came is seen in the record.
    counts = re.search(r"(\d+) errored, (\d+) timeout", said)
    if not counts or any(int(count) for count in counts.groups()):
        raise Failed(counts.group(0) if counts else f"h2load said: {said.strip()[-300:]}")


def _answers(record, scenario):
    """Begin and length of each pull, in seconds."""
    answers = []
    with open(record) as file:
        for line in file:
            began, status, took = line.split()
            if int(status) != scenario.status:
                raise Failed(f"answered with {status}")
            answers.append((int(began) / 1e6, max(1, int(took)) / 1e6))
    if not answers:
        raise Failed("no pull was answered")
    return answers


def _wrk(place, scenario, cpus, seconds, clock):
    command = ["taskset", "-c", cpus, "wrk", "-t1", f"-c{scenario.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    for header in headers(scenario) + (["Connection: close"] if scenario.kind == "new-connection" else []):
        command += ["-H", header]
    before = clock()
    said = subprocess.run([*command, url(place, scenario)], capture_output=True, text=True).stdout
    cost = clock() - before
    counts = re.search(r"(\d+) requests in ([\d.]+)s", said)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if not counts or errors and any(map(int, errors.groups())):
        raise Failed(errors.group(0) if errors else f"wrk said: {said.strip()[-300:]}")
    pulls = int(counts.group(1))
    if (int(refused.group(1)) if refused else 0) != (pulls if scenario.status >= 400 else 0):
        raise Failed(f"{refused.group(1) if refused else 'none'} of {pulls} answers were errors")
    return pulls, float(counts.group(2)), cost
