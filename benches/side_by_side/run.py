#!/usr/bin/env python3
"""Headwater beside nginx and HAProxy: the same work, in one run, round by round, as CPU time per pull.

    python3 benches/side_by_side/run.py                          all scenarios, three rounds (about 15 minutes)
    python3 benches/side_by_side/run.py --rounds 1 --seconds 1 --scenarios 1k gzip
"""
import argparse, datetime, json, os, shutil, statistics, subprocess, sys, tempfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import load, peers, work

SCENARIOS = {                     # path, connections, headers
    "1k": ("/img/1k.jpg", 64, []),
    "100k": ("/img/100k.jpg", 64, []),
    "10m": ("/big.bin", 8, []),
    "gzip": ("/js/app.js", 16, ["Accept-Encoding: gzip"]),
    "beacon": ("/status/images/beacon.gif", 64, []),
    "whoopsie": ("/boom", 64, []),
    "new-connection": ("/img/1k.jpg", 64, ["Connection: close"]),
    "idle": None,
}


def measure(peer, scenario, bench):
    """Starts a peer afresh, checks that it does the work, warms it up, and measures once."""
    load.wait_until_quiet()
    with peers.start(peer, bench) as process:
        work.check(peer, bench)
        if scenario == "idle":
            return {"kib": load.idle_kib(process, bench)}
        path, connections, headers = SCENARIOS[scenario]
        load.wrk(bench, path, connections, 1, headers)
        process.reset_peak()
        before = process.cpu_seconds()
        result = load.wrk(bench, path, connections, bench.seconds, headers)
        result["us"] = (process.cpu_seconds() - before) * 1e6 / max(1, result["requests"])
        result["peak_kib"] = process.peak_kib()
        return result


def table(rows, names):
    """Medians with their range, and the ratio to nginx's median."""
    lines = ["| scenario | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for scenario in SCENARIOS:
        cells = []
        for name in names:
            key = "kib" if scenario == "idle" else "us"
            values = sorted(row[key] for row in rows if row["peer"] == name and row["scenario"] == scenario)
            if not values:
                cells.append("-")
                continue
            middle = statistics.median(values)
            base = [row[key] for row in rows if row["peer"] == "nginx" and row["scenario"] == scenario]
            ratio = f", {middle / statistics.median(base):.2f}x" if base and name != "nginx" else ""
            if scenario == "idle":
                cells.append(f"{middle / 1024:.1f} MiB{ratio}")
            else:
                unit, scale = ("ms", 1000) if middle >= 1000 else ("us", 1)
                cells.append(f"{middle / scale:.1f} {unit} ({values[0] / scale:.1f}-{values[-1] / scale:.1f}){ratio}")
        if any(cell != "-" for cell in cells):
            lines.append(f"| {scenario} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS))
    arguments.add_argument("--peers", nargs="+", default=["headwater", "nginx", "haproxy"], choices=list(peers.PEERS))
    arguments.add_argument("--workers", type=int, default=1, choices=[1, 2])
    arguments.add_argument("--log", default="on", choices=["on", "off"])
    arguments.add_argument("--headwater", default="target/release/headwater")
    arguments.add_argument("--json", help="append every measurement to this file")
    arguments = arguments.parse_args()
    missing = [name for name in ("nginx", "haproxy", "wrk", "taskset") if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
    missing += [path for path in work.SCRIPTS if not os.path.exists(path)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; run apt-get install nginx-light haproxy wrk util-linux libjs-jquery libjs-lodash")
    if not os.path.exists(arguments.headwater):
        sys.exit(f"{arguments.headwater} is not built: run cargo build --release")
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as folder:
        os.chmod(folder, 0o755)
        bench = peers.Bench(folder, os.path.abspath(arguments.headwater), arguments.workers, arguments.log == "on", arguments.seconds)
        work.write(bench)
        rows = []
        with peers.start("origin", bench), load.few_time_waits():
            for scenario in arguments.scenarios:
                for turn in range(arguments.rounds):
                    # A B C A B C: whatever else the machine does hits all alike.
                    for peer in arguments.peers:
                        row = {"scenario": scenario, "peer": peer, "round": turn} | measure(peer, scenario, bench)
                        rows.append(row)
                        print(json.dumps(row), file=sys.stderr, flush=True)
                        if arguments.json:
                            with open(arguments.json, "a") as out:
                                out.write(json.dumps(row) + "\n")
        day = datetime.datetime.now(datetime.timezone.utc).date()
        print(f"{day}, {peers.versions(bench)}; {arguments.workers} worker(s), access log {arguments.log}, "
              f"{arguments.rounds} rounds of {arguments.seconds} s\n")
        print(table(rows, arguments.peers))
        print("\nThe 153,600 bytes of script, compressed: " + ", ".join(f"{peer} {size:,} B" for peer, size in bench.sizes.items()))


if __name__ == "__main__":
    main()
