"""Every process of an authenticated federation killed with -9 in turn: the run ends as it was asked to."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from hawthorn.scripts.deploying.laying import laid_out
from hawthorn.scripts.deploying.processes import listens
from hawthorn.scripts.deploying.rehearsal import SERVER_APP, SUPERLINK, Plan, Rehearsal, stop
from hawthorn.server.audit import Audit

pytestmark = pytest.mark.slow

ROUNDS = 6
PATIENCE = 1800  # seconds before a test gives up on a machine that hangs
CLIENT_APP = "flwr-clientapp"


class Killed:
    """A federation of three sites with a run on it, and how long it took to go on after each kill."""

    def __init__(self, folder):
        # a reply that was on its way when the SuperLink died is lost, and would be waited for
        settings = {"rounds": ROUNDS, "reply-timeout": 240.0}
        sites = ("north", "south", "east")
        self.deployment = laid_out(
            folder, name="killed", hosts=(), port=9092, sites=sites, programs=Path(sys.executable).parent, settings={}
        )
        self.rehearsal = Rehearsal(self.deployment, Plan(hostile=0, settings=settings), print)
        self.seconds = {}

    def rounds(self):
        """The rounds in the audit so far."""
        path = self.deployment.rehearsal.audit
        if not path.exists():
            return ()
        with Audit.open(path, create=False) as audit:
            run = audit.run_named(self.rehearsal.run_name)
            return () if run is None else audit.rounds(run.id)

    def wait_for(self, what, condition):
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, f"given up waiting until {what}: {self.logs()}"
            time.sleep(1)
        return found

    def wait_for_rounds(self, more=1):
        """Return once so many more rounds are committed; how many there are then."""
        count = len(self.rounds()) + more
        self.wait_for(f"there are {count} rounds", lambda: len(self.rounds()) >= min(count, ROUNDS))
        return len(self.rounds())

    def kill(self, what, pid):
        """Kill a process, and note how long it takes until the next round is committed."""
        os.kill(pid, signal.SIGKILL)
        print(f"killed {what}, process {pid}, after round {len(self.rounds())}")
        return time.monotonic()

    def went_on(self, what, since):
        self.wait_for_rounds()
        self.seconds[what] = round(time.monotonic() - since, 1)
        print(f"{what}: the next round was committed {self.seconds[what]} s after the kill")

    def helper(self, program):
        """A process that Flower has started, as soon as there is one."""
        return self.wait_for(f"{program} runs", lambda: self.rehearsal.processes.helpers(program))[0]

    def logs(self):
        return "\n".join(f"==> {log.name}\n{log.read_text()[-2000:]}" for log in self.deployment.folder.rglob("*.log"))


@pytest.fixture
def killed(tmp_path):
    found = Killed(tmp_path / "federation")
    yield found
    stop(found.deployment)
    found.rehearsal.processes.stop()  # nothing is alive any more, but what this process started is to be waited for


def test_a_run_survives_kill_9_of_each_process(killed):
    rehearsal = killed.rehearsal
    rehearsal.start()
    rehearsal.submit()
    killed.wait_for_rounds()

    since = killed.kill("the ServerApp", killed.helper(SERVER_APP))
    before = killed.rounds()
    flower_run = rehearsal.submit()  # what an operator does: the same app again
    killed.went_on("the ServerApp", since)

    since = killed.kill("a SuperNode", rehearsal.processes.known["supernode-east"].pid)
    killed.went_on("a SuperNode", since)
    rehearsal.start()  # what systemd does

    since = killed.kill("a ClientApp", killed.helper(CLIENT_APP))
    killed.went_on("a ClientApp", since)

    superlink = rehearsal.processes.known[SUPERLINK]
    since = killed.kill("the SuperLink", superlink.pid)
    killed.wait_for("its port is free, which its own helpers may hold a while", lambda: not listens(superlink.port))
    rehearsal.start()
    killed.went_on("the SuperLink", since)

    killed.wait_for("the run is over", lambda: rehearsal.flwr.status(flower_run)[0].startswith("finished"))
    assert rehearsal.flwr.status(flower_run)[0] == "finished:completed", killed.logs()
    with Audit.open(killed.deployment.rehearsal.audit, create=False) as audit:
        (run,) = audit.runs()
        rounds = audit.rounds(run.id)
        assert run.status == "finished"
        assert [one.number for one in rounds] == list(range(1, ROUNDS + 1)), "no round is lost, none held twice"
        assert rounds[: len(before)] == before
        assert "resume" in {entry.kind for entry in audit.entries(run.id)}
        assert audit.verify(run.id) == ()
        # who died was the only one to lose anything
        refused = [one for one in audit.contributions(run.id) if not one.admitted]
        assert refused, "a site that dies in a round is told of there"
    print(f"seconds from each kill to the next commit: {killed.seconds}")
