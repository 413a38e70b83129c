"""The proxies and the origin: their configurations, their processes, and what the kernel says these cost."""
import contextlib, glob, json, os, re, signal, socket, subprocess, time

TYPES = ["text/html", "text/plain", "text/css", "application/javascript", "text/javascript", "application/json", "image/svg+xml"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bench:
    """Where everything is, and what is asked of every peer."""
    SECRET = "a-secret-of-the-benchmark-0123456789"
    LIFETIME = "public, max-age=94670800"

    def __init__(self, folder, headwater, workers, log, seconds):
        self.folder, self.headwater, self.workers, self.log, self.seconds = folder, headwater, workers, log, seconds
        self.origin_port, self.port, self.admin_port = free_port(), free_port(), free_port()
        # One worker has a core of its own, so that its reading holds none of the load's context switches.
        self.proxy_cpus, self.load_cpus = ("1", "0") if workers == 1 else ("0,1", "0,1")
        self.sizes = {}


def headwater(b):
    log = f"{b.folder}/headwater.log" if b.log else "off"
    geo = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/data/countries.mmdb")
    conf = f"""
[listen]
http = ["127.0.0.1:{b.port}"]
admin = "127.0.0.1:{b.admin_port}"
workers = {b.workers}
[origin]
servers = ["127.0.0.1:{b.origin_port}"]
idle_timeout = "600s"
[limits]
idle_timeout = "600s"
[[cdn]]
name = "cloudfront"
kind = "cloudfront"
secret = {{ header = "X-CDN-Secret", values = ["{b.SECRET}"] }}
[[rule]]
name = "static"
path = '\\.(gif|jpg|jpeg|png|css|js)$'
cache_control = "{b.LIFETIME}"
[gzip]
types = {json.dumps(TYPES)}
level = 6
min_length = "256 B"
[whoopsie]
pages = "{b.folder}/www/pages"
[geo]
database = "{os.path.abspath(geo)}"
[log]
access = "{log}"
"""
    path = f"{b.folder}/headwater.toml"
    with open(path, "w") as out:
        out.write(conf)
    return [b.headwater, "serve", "-c", path]


def nginx(b):
    log = f"access_log {b.folder}/nginx.log combined;" if b.log else "access_log off;"
    conf = f"""
worker_processes {b.workers}; daemon off; pid {b.folder}/nginx.pid; error_log {b.folder}/nginx.error; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  include /etc/nginx/mime.types; {log} sendfile on; tcp_nopush on; keepalive_timeout 600s; keepalive_requests 1000000000;
  client_body_temp_path {b.folder}; proxy_temp_path {b.folder}; fastcgi_temp_path {b.folder}; uwsgi_temp_path {b.folder}; scgi_temp_path {b.folder};
  upstream app {{ server 127.0.0.1:{b.origin_port}; keepalive 128; keepalive_requests 1000000000; keepalive_timeout 600s; }}
  gzip on; gzip_comp_level 6; gzip_proxied any; gzip_vary on; gzip_min_length 256; gzip_types {' '.join(t for t in TYPES if t != 'text/html')};
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_max_temp_file_size 0;
  proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;
  proxy_intercept_errors on; error_page 500 501 502 503 504 /whoopsie.html;
  server {{
    listen 127.0.0.1:{b.port} reuseport backlog=4096;
    location = /whoopsie.html {{ internal; root {b.folder}/www; }}
    location = /status/images/beacon.gif {{ empty_gif; }}
    location ~* \\.(gif|jpg|jpeg|png|css|js)$ {{ add_header Cache-Control "{b.LIFETIME}"; proxy_pass http://app; }}
    location / {{ proxy_pass http://app; }}
  }}
}}
"""
    path = f"{b.folder}/nginx.conf"
    with open(path, "w") as out:
        out.write(conf)
    return ["/usr/sbin/nginx", "-p", b.folder, "-c", path]


def haproxy(b):
    errors = "\n".join(f"  http-response return status {s} content-type text/html file {b.folder}/www/whoopsie.html if {{ status {s} }}"
                       for s in (500, 501, 502, 503, 504))
    log = "log stdout format raw local0\n  option httplog" if b.log else ""
    conf = f"""
global
  nbthread {b.workers}
  maxconn 8000
  {"log stdout format raw local0" if b.log else ""}
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:{b.port} backlog 4096
  {log}
  stick-table type string len 32 size 1k store http_req_cnt
  http-request track-sc0 req.hdr(X-CDN-Provider)
  http-request return status 200 content-type image/gif file {b.folder}/www/beacon.gif if {{ path /status/images/beacon.gif }}
  http-request set-var(txn.static) bool(1) if {{ path_end -i .gif .jpg .jpeg .png .css .js }}
  http-response set-header Cache-Control "{b.LIFETIME}" if {{ var(txn.static) -m bool }} {{ status 200:399 }}
{errors}
  compression algo gzip
  compression type {' '.join(TYPES)}
  default_backend app
backend app
  server app 127.0.0.1:{b.origin_port} pool-max-conn 256
"""
    path = f"{b.folder}/haproxy.cfg"
    with open(path, "w") as out:
        out.write(conf)
    return ["/usr/sbin/haproxy", "-db", "-f", path]


def origin(b):
    conf = f"""
worker_processes 1; daemon off; pid {b.folder}/origin.pid; error_log {b.folder}/origin.error; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
  include /etc/nginx/mime.types; default_type application/octet-stream; access_log off; sendfile on; tcp_nopush on;
  keepalive_timeout 600s; keepalive_requests 1000000000; open_file_cache max=100;
  client_body_temp_path {b.folder}; proxy_temp_path {b.folder}; fastcgi_temp_path {b.folder}; uwsgi_temp_path {b.folder}; scgi_temp_path {b.folder};
  server {{ listen 127.0.0.1:{b.origin_port} backlog=4096; root {b.folder}/site;
    location = /boom {{ default_type text/html; return 503 "<html>the app is busy</html>"; }} }}
}}
"""
    path = f"{b.folder}/origin.conf"
    with open(path, "w") as out:
        out.write(conf)
    return ["/usr/sbin/nginx", "-p", b.folder, "-c", path]


PEERS = {"headwater": headwater, "nginx": nginx, "haproxy": haproxy}


class Process:
    """A peer's processes, as the kernel counts them."""
    def __init__(self, child):
        self.child = child

    def pids(self):
        children = {}
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = open(path).read()
                children.setdefault(int(text[text.rindex(")") + 2:].split()[1]), []).append(int(path.split("/")[2]))
        found, todo = [], [self.child.pid]
        while todo:
            found.append(todo.pop())
            todo += children.get(found[-1], [])
        return found

    def cpu_seconds(self):
        """The processes' CPU clocks: user and system time to the nanosecond, ended threads included."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += time.clock_gettime_ns((~pid << 3) | 2)
        return total / 1e9

    def _sum(self, name, field):
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += int(re.search(rf"^{field}:\s+(\d+)", open(f"/proc/{pid}/{name}").read(), re.M).group(1))
        return total

    def pss_kib(self):
        return self._sum("smaps_rollup", "Pss")

    def peak_kib(self):
        return self._sum("status", "VmHWM")

    def reset_peak(self):
        for pid in self.pids():
            with contextlib.suppress(OSError):
                open(f"/proc/{pid}/clear_refs", "w").write("5")


@contextlib.contextmanager
def start(name, bench):
    command = (PEERS | {"origin": origin})[name](bench)
    port = bench.origin_port if name == "origin" else bench.port
    cpus = bench.load_cpus if name == "origin" else bench.proxy_cpus
    with open(f"{bench.folder}/{name}.out", "wb") as out:
        child = subprocess.Popen(["taskset", "-c", cpus, *command], stdout=out, stderr=subprocess.STDOUT)
    process = Process(child)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            if child.poll() is not None:
                raise SystemExit(f"{name} did not start:\n" + open(f"{bench.folder}/{name}.out").read()[-2000:])
            time.sleep(.05)
        yield process
    finally:
        pids = process.pids()
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(5)
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        child.wait(5)


def versions(bench):
    first = lambda *command: subprocess.run(command, capture_output=True, text=True)
    ours = first(bench.headwater, "--version").stdout.strip()
    theirs = first("/usr/sbin/nginx", "-v").stderr.strip().split("/")[-1]
    others = first("/usr/sbin/haproxy", "-v").stdout.split()[2]
    kernel = os.uname().release
    return f"{ours}, nginx {theirs}, HAProxy {others}, Linux {kernel}"
