#!/usr/bin/env python3
"""Headwater beside its peers: the same work, in one run, peer by peer within each round.

    python3 benches/side_by_side/run.py                              everything, into benches/RESULTS.md (about 15 minutes)
    python3 benches/side_by_side/run.py --quick                      once, briefly, to see that all of it works
    python3 benches/side_by_side/run.py --only 1k h2-1k --peers headwater nginx --rounds 5
"""
import argparse, contextlib, dataclasses, json, os, shutil, signal, sys, tempfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check, content, machine, measure, origin, peers, process, report, scenarios
from place import Place, free_port


@dataclasses.dataclass
class Running:
    place: Place
    processes: process.Processes
    lacks: dict                    # what it cannot do, and why
    sizes: dict                    # of what it compressed


class Bench:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.origin_port = free_port()
        self.rows, self.places = [], {}
        self.patience = measure.Patience(0 if arguments.quick else 40)

    @contextlib.contextmanager
    def proxy(self, name, workers, level):
        """A proxy that was seen to do its work."""
        peer = peers.PEERS[name]
        folder = tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder)
        os.chmod(folder, 0o777)
        place = self.places[name] = Place(
            folder, f"{self.folder}/www", f"{self.folder}/certificate.pem", f"{self.folder}/key.pem", f"{self.folder}/both.pem",
            self.origin_port, workers, level, os.path.abspath(self.arguments.headwater))
        lacks = dict(peer.LACKS)
        ports = [place.port] + ([] if "tls" in lacks else [place.tls_port])
        log = place.log if getattr(peer, "LOGS_TO_STDOUT", False) else None
        with process.started(name, peer.commands(place), machine.placement(workers)[0], ports, folder, log) as processes:
            sizes, h2 = check.same_work(peer.NAME, lacks, place)
            if not h2:
                lacks["h2"] = lacks.get("tls", "it offers no HTTP/2 over TLS")
            yield Running(place, processes, lacks, sizes)
        shutil.rmtree(folder, ignore_errors=True)

    def run(self):
        for workers in self.arguments.workers:
            cpus = machine.placement(workers)[1]
            with process.started("origin", origin.commands(self.folder, self.origin_port), cpus, [self.origin_port], self.folder) as app:
                for level in (6, 1):
                    chosen = [s for s in self.arguments.only if s.level == level and s.kind != "idle"]
                    if chosen:
                        with contextlib.ExitStack() as stack:
                            running = {name: stack.enter_context(self.proxy(name, workers, level)) for name in self.arguments.peers}
                            for scenario in chosen:
                                self.rounds(scenario, workers, app, running)
                # Memory is read from proxies that have done nothing yet, and does not depend on the number of workers.
                for scenario in (s for s in self.arguments.only if s.kind == "idle" and workers == self.arguments.workers[0]):
                    self.rounds(scenario, workers, app, {})

    def rounds(self, scenario, workers, app, running):
        for turn in range(self.arguments.rounds):
            # A B C A B C: whatever else the machine does hits all alike.
            for name in self.arguments.peers:
                with contextlib.ExitStack() as stack:
                    proxy = running.get(name) or stack.enter_context(self.proxy(name, workers, scenario.level))
                    reason = next((proxy.lacks[need] for need in scenario.needs() if need in proxy.lacks), None)
                    if reason is None:
                        row = measure.measured(proxy, app, scenario, machine.placement(workers)[1], self.arguments.seconds,
                                               workers == 1, self.patience)
                        row |= {"bytes": proxy.sizes[os.path.basename(scenario.name).split("-")[1]]} if scenario.gzip else {}
                    else:
                        row = {"lacks": reason}
                self.keep({"scenario": scenario.name, "workers": workers, "peer": name, "round": turn} | row)

    def keep(self, row):
        self.rows.append(row)
        if "lacks" not in row:
            print(json.dumps(row), file=sys.stderr, flush=True)
        if self.arguments.json:
            with open(self.arguments.json, "a") as out:
                out.write(json.dumps(row) + "\n")


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headwater", default=os.environ.get("HEADWATER", "target/release/headwater"),
                        help="the binary; or HEADWATER in the environment")
    parser.add_argument("--quick", action="store_true", help="one round of half a second, measured once however busy the machine is")
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", default=scenarios.NAMES, choices=scenarios.NAMES,
                        help=", ".join(scenarios.NAMES))
    parser.add_argument("--peers", nargs="+", metavar="PEER", default=list(peers.PEERS), choices=list(peers.PEERS), help=", ".join(peers.PEERS))
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], choices=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=.6, help="of each reading")
    parser.add_argument("--json", metavar="FILE", help="append every measurement to this file")
    parser.add_argument("--write", action="store_true", help="into benches/RESULTS.md also what is not everything")
    arguments = parser.parse_args()
    whole = (arguments.only, arguments.peers, arguments.workers) == (scenarios.NAMES, list(peers.PEERS), [1, 2])
    arguments.write |= whole and not arguments.quick
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, .5
    arguments.only = [scenario for scenario in scenarios.SCENARIOS if scenario.name in arguments.only]
    return arguments


def main():
    arguments = parsed()
    programs = ("nginx", "haproxy", "apache2", "caddy", "varnishd", "varnishncsa", "h2load", "nghttp", "wrk", "openssl", "taskset")
    missing = [name for name in programs if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
    missing += [path for path in [*content.SCRIPTS, content.DOCUMENT] if not os.path.exists(path)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; run benches/side_by_side/tools.sh")
    if not os.path.exists(arguments.headwater):
        sys.exit(f"{arguments.headwater} is not built: run cargo build --release")
    if (os.cpu_count() or 1) < 2:
        sys.exit("the proxy and the load need a core each")
    if arguments.write:
        report.around()
    # Whoever ends the run ends the proxies, and gives the kernel its setting back.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))
    machine.raise_limits()
    with tempfile.TemporaryDirectory(prefix="headwater-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        content.write(folder)
        bench = Bench(arguments, folder)
        with machine.few_time_waits():
            bench.run()
        text = report.figures(bench.rows, arguments, {name: peers.PEERS[name].version(bench.places[name]) for name in arguments.peers})
    print(text)
    if arguments.write:
        report.write(text)
    if failed := [row for row in bench.rows if "failed" in row]:
        sys.exit(f"{len(failed)} measurements failed, the last because: {failed[-1]['failed']}")


if __name__ == "__main__":
    main()
