"""A short run of tests/soak.py: what clients leave behind on the main servers."""

import rigs
import soak

CYCLES = 300
# An allocator keeps some of what it had for a while; a leak of 13 kB per client is beyond this.
MOST = 4_000_000  # bytes
FEW = 10  # connections in the act of closing, threads that may be used again


def test_clients_leave_nothing_behind(rig: rigs.Rig) -> None:
    result = soak.run(rig, CYCLES, warm_up=200)
    assert result.after.sessions == 0
    assert result.after.files <= result.before.files + FEW
    assert result.after.threads <= result.before.threads + FEW
    assert result.after.memory - result.before.memory < MOST
