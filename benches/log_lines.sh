#!/bin/sh
# How long `headwater logs --once` takes for a million lines, on one core: real seconds from start to end of the process,
# the store's write included. HEADWATER_BIN names the binary (a release build), LINES another count.
set -eu
bin=${HEADWATER_BIN:-target/release/headwater}
lines=${LINES:-1000000}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/headwater.toml" <<TOML
[origin]
servers = ["127.0.0.1:1"]
[control]
store = "$folder/history.db"
[[cdn]]
name = "fastly"
kind = "fastly"
networks = ["fastly"]
[[cdn]]
name = "akamai"
kind = "akamai"
networks = ["198.51.100.0/24"]
TOML
python3 - "$lines" > "$folder/access.log" <<'PYTHON'
import sys, time
lines = int(sys.argv[1])
start = int(time.time()) - 3600
agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
paths = ["/assets/app.%d.js", "/listing/%d?ref=home", "/images/%d/il_570xN.jpg", "/", "/api/v3/shops/%d/listings"]
cdns = ["fastly", "akamai", "-"]
for n in range(lines):
    at = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(start + n * 3000 // lines)) if n % 50 == 0 else at
    path = paths[n % 5]
    path = path % (n % 9973) if "%" in path else path
    print(f'10.1.{n % 251}.{n % 249} - - [{at}] "GET {path} HTTP/1.1" {503 if n % 97 == 0 else 200} {n % 65536} '
          f'"https://www.example.com/" "{agent}" "{cdns[n % 3]}" {n % 80000}')
PYTHON
ls -lh "$folder/access.log" | awk '{ print $5 " of log" }'
for run in 1 2 3; do
    rm -f "$folder"/history.db*
    python3 - "$bin" "$folder" <<'PYTHON'
import os, resource, subprocess, sys, time
binary, folder = sys.argv[1:]
begin = time.time()
command = ["taskset", "-c", "0", binary, "logs", "--once", "--from-start", "-c", f"{folder}/headwater.toml", f"{folder}/access.log"]
said = subprocess.run(command, stderr=subprocess.PIPE, check=True).stderr.decode()
real = time.time() - begin
use = resource.getrusage(resource.RUSAGE_CHILDREN)
counted = said.split("lines counted=")[1].split()[0]
print(f"{counted} lines in {real:.2f} s ({use.ru_utime + use.ru_stime:.2f} s of CPU, {use.ru_maxrss // 1024} MiB)")
PYTHON
done
