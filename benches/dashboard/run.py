"""Times every query of the dashboard over HTTP, from a store of a year of ten providers.

  cargo build --release --bin headwater && cargo build --release -p headwater-control --example seed
  python3 benches/dashboard/run.py [STORE]      a STORE that is there already is taken as it is
"""

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time

TARGET = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
ROUNDS = 30
DAY = 86400


def start(folder, store):
    path = os.path.join(folder, "headwater.toml")
    providers = "".join(
        f'[[cdn]]\nname = "cdn{n}"\nkind = "generic"\nnetworks = ["192.0.2.{n}/32"]\n' for n in range(1, 11)
    )
    with open(path, "w") as file:
        file.write(
            f'[origin]\nservers = ["127.0.0.1:8000"]\n{providers}[control]\nlisten = "127.0.0.1:0"\nstore = "{store}"\n'
        )
    control = subprocess.Popen([f"{TARGET}/headwater", "control", "-c", path], stderr=subprocess.PIPE, text=True)
    for line in control.stderr:
        if "headwater: ready " in line:
            address = line.split("control=")[1].split()[0]
            return control, address
    raise SystemExit("the control plane does not start")


def queries(now):
    for name, length in [("1h", 3600), ("6h", 21600), ("24h", DAY), ("7d", 7 * DAY), ("30d", 30 * DAY), ("1y", 365 * DAY)]:
        span = f"from={now - length}&until={now}"
        yield f"overview {name}", f"/api/overview?{span}"
        yield f"measures {name}", f"/api/measures?cdn=cdn3&{span}"
        yield f"beacons by provider {name}", f"/api/points?figure=beacons&by=cdn&{span}"
        yield f"origin seconds {name}", f"/api/points?figure=origin_seconds&{span}"
        yield f"beacons by country {name}", f"/api/totals?figure=beacon_countries&{span}"
        yield f"beacons by source {name}", f"/api/totals?figure=beacons&{span}"
        yield f"events {name}", f"/api/events?{span}"


def main():
    with tempfile.TemporaryDirectory() as folder:
        store = sys.argv[1] if len(sys.argv) > 1 else os.path.join(folder, "history.db")
        if not os.path.exists(store):
            began = time.monotonic()
            subprocess.run([f"{TARGET}/examples/seed", store, "365", "10", "cdn3"], check=True)
            print(f"seeded in {time.monotonic() - began:.0f} s")
        control, address = start(folder, store)
        try:
            print(f"{os.path.getsize(store) / 2**20:.0f} MiB\n\n| query | median | worst of {ROUNDS} | bytes |\n|---|---|---|---|")
            connection = http.client.HTTPConnection(address)
            now = int(time.time()) // 60 * 60
            for name, path in queries(now):
                times = []
                for _ in range(ROUNDS):
                    began = time.perf_counter()
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    body = answer.read()
                    times.append((time.perf_counter() - began) * 1000)
                    assert answer.status == 200, body
                print(f"| {name} | {statistics.median(times):.1f} ms | {max(times):.1f} ms | {len(body):,} |", flush=True)
        finally:
            control.terminate()
            control.wait()


main()
