"""One measurement: CPU time for each pull, and p99 at the scenario's rate."""
import math, os, time
import arrivals, idle, load, machine

DISTURBED = .12                    # of a core, used by others


class Patience:
    """How often a run may measure again because somebody else used the machine: a busy one must not keep it forever."""
    def __init__(self, times):
        self.left = times

    def spent(self):
        self.left -= 1
        return self.left < 0


def measured(running, origin, scenario, cpus, seconds, p99, patience):
    """The quietest of up to three measurements."""
    best, failure = None, None
    for _ in range(3):
        try:
            row = _watched(running, origin, lambda: _once(running, scenario, cpus, seconds, p99))
            if best is None or row["foreign"] < best["foreign"]:
                best = row
            if row["foreign"] < DISTURBED:
                break
        except load.Failed as error:
            failure = str(error)
        if patience.spent():
            break
    return best or {"failed": failure}


def _watched(running, origin, work):
    """What the work returns, and the share of a core that was used by nobody who takes part."""
    def ours():
        return machine.own_seconds() + origin.cpu_seconds() + running.processes.cpu_seconds()
    started, busy, own = time.time(), machine.busy_seconds(), ours()
    row = work()
    # HAProxy goes on at its old offset: the hole before it takes no room.
    os.truncate(running.place.log, 0)
    foreign = machine.busy_seconds() - busy - (ours() - own)
    return row | {"foreign": round(max(0, foreign) / (time.time() - started), 3)}


def _once(running, scenario, cpus, seconds, p99):
    place, clock = running.place, running.processes.cpu_seconds
    if scenario.kind == "idle":
        return {"kib": idle.cost_kib(running.processes, place)}
    if scenario.kind == "new-session":
        # The handshakes are dear enough to be read at a rate, which the load alone can hold to full ones.
        arrivals.come(place, scenario, .2, scenario.size)
        before = clock()
        latencies = arrivals.come(place, scenario, seconds, scenario.size)
        return {"us": (clock() - before) * 1e6 / len(latencies), "p99_us": _percentile(latencies)}
    pulls, took, cost = load.saturated(place, scenario, cpus, seconds, clock)
    row = {"us": cost * 1e6 / pulls, "per_second": round(pulls / took)}
    if p99:
        row["p99_us"] = _percentile(arrivals.come(place, scenario, seconds, scenario.size) if scenario.connections_end() else
                                    load.at_rate(place, scenario, cpus, seconds))
    return row


def _percentile(latencies, share=.99):
    return sorted(latencies)[math.ceil(share * len(latencies)) - 1]
