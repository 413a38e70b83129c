#!/usr/bin/env python3
"""Whether what browsers send moves the p99 of pulls: pulls at a fixed rate, alone, beside users' timings that the control plane takes
on the same machine, and beside failure beacons that the proxy itself answers. Rounds are interleaved; what counts is the median.

    benches/beacons_beside_pulls.py target/release/headwater [--pulls 20000] [--beacons 10000] [--rounds 5] [--seconds 5]

Needs h2load (nghttp2-client) and nginx. Exits 1 if a p99 moved by more than a tenth, and 2 if the machine cannot do these rates at all."""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ORIGIN = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; location / {{ return 200 "{body}"; }} }} }}
"""
CONFIG = """[listen]
http = ["127.0.0.1:{pulls}"]
admin = "127.0.0.1:{admin}"
workers = 1
[origin]
servers = ["127.0.0.1:{origin}"]
idle_timeout = "30s"
[log]
access = "off"
[[cdn]]
name = "fastly"
kind = "fastly"
networks = ["127.0.0.0/8"]
[control]
listen = "127.0.0.1:{control}"
store = "{folder}/history.db"
[rum]
path = "/rum"
"""
TIMINGS = '{"ttfb":120.5,"fcp":312,"lcp":900.25,"inp":80,"load":1502,"cls":0.02,"cdn":"fastly"}'


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def load(url, rate, seconds, log, *more):
    """h2load at a fixed rate, from 20 connections."""
    command = ["h2load", "--h1", "-t1", "-c20", f"--rps={rate / 20:g}", f"--duration={seconds}", f"--log-file={log}", *more, url]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def read(log, seconds):
    """Answers a second, p50 and p99 in microseconds, and how many were no success."""
    with open(log) as lines:
        answers = [line.split("\t") for line in lines]
    times = sorted(int(answer[2]) for answer in answers)
    if not times:
        sys.exit("h2load had no answers")
    bad = sum(not answer[1].startswith("2") for answer in answers)
    return len(times) / seconds, times[len(times) // 2], times[int(len(times) * 0.99)], bad


def cpu(process):
    """Seconds of processor time so far."""
    with open(f"/proc/{process.pid}/stat") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("headwater")
    parser.add_argument("--pulls", type=int, default=20000)
    parser.add_argument("--beacons", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        ports = {name: free_port() for name in ("origin", "pulls", "admin", "control")}
        with open(f"{folder}/nginx.conf", "w") as file:
            file.write(ORIGIN.format(folder=folder, port=ports["origin"], body="x" * 1024))
        with open(f"{folder}/headwater.toml", "w") as file:
            file.write(CONFIG.format(folder=folder, **ports))
        with open(f"{folder}/timings", "w") as file:
            file.write(TIMINGS)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            processes.append(subprocess.Popen(["/usr/sbin/nginx", "-c", f"{folder}/nginx.conf"], **quiet))
            for verb in ("serve", "control"):
                processes.append(subprocess.Popen([options.headwater, verb, "-c", f"{folder}/headwater.toml"], **quiet))
            for port in ports.values():
                wait_for(port)
            measure(options, folder, ports, processes)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait()


def measure(options, folder, ports, processes):
    pulls = f"http://127.0.0.1:{ports['pulls']}/"
    besides = {
        "alone": None,
        "users' timings": (f"http://127.0.0.1:{ports['control']}/rum", f"--data={folder}/timings"),
        "failure beacons": (f"{pulls}status/images/beacon.gif?source=fastly_503",),
    }
    found = {name: [] for name in besides}
    load(pulls, options.pulls, 2, f"{folder}/warm").wait()
    for _ in range(options.rounds):
        for name, beside in besides.items():
            for log in ("pulls", "beacons"):
                if os.path.exists(f"{folder}/{log}"):
                    os.remove(f"{folder}/{log}")
            before = [cpu(process) for process in processes[1:]]
            running = [load(pulls, options.pulls, options.seconds, f"{folder}/pulls", "--header=X-CDN-Provider: fastly")]
            if beside:
                running.append(load(beside[0], options.beacons, options.seconds, f"{folder}/beacons", *beside[1:]))
            for process in running:
                process.wait()
            used = [(cpu(process) - start) / options.seconds for process, start in zip(processes[1:], before)]
            beacons = read(f"{folder}/beacons", options.seconds) if beside else (0, 0, 0, 0)
            found[name].append((*read(f"{folder}/pulls", options.seconds), *beacons, *used))
    print("| beside the pulls | pulls/s | p50 | p99 (range) | of alone | beacons/s | their p99 | cores: proxy, control |")
    print("|---|---|---|---|---|---|---|---|")
    worst, slow = 1.0, False
    alone = statistics.median(row[2] for row in found["alone"])
    for name, rows in found.items():
        rate, p50, p99, bad, beacons, _, their_p99, their_bad, proxy, control = map(statistics.median, zip(*rows))
        all_p99 = [row[2] for row in rows]
        worst = max(worst, p99 / alone)
        slow |= rate < 0.97 * options.pulls or bool(besides[name]) and beacons < 0.97 * options.beacons
        print(
            f"| {name} | {rate:,.0f} | {p50 / 1000:.2f} ms | {p99 / 1000:.2f} ms ({min(all_p99) / 1000:.2f}-{max(all_p99) / 1000:.2f}) "
            f"| {p99 / alone:.2f} | {beacons:,.0f} | {their_p99 / 1000:.2f} ms | {proxy:.2f}, {control:.2f} |"
        )
        if bad or their_bad:
            sys.exit(f"{bad:.0f} pulls and {their_bad:.0f} beacons were no success")
    time.sleep(11)
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['control']}/api/users?window=10m") as answer:
        told = json.load(answer)["cdn"]["fastly"]
    sent = sum(row[4] for row in found["users' timings"]) * options.seconds
    print(f"\nsent {sent:,.0f} beacons, counted {told['pages']:,.0f} pages; lcp of half of them {told['lcp']['p50']:.2f} s")
    if slow:
        print("this machine cannot do these rates beside its own load: give lower ones")
        sys.exit(2)
    sys.exit(1 if worst > 1.1 else 0)


if __name__ == "__main__":
    main()
