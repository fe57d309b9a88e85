"""Several processes train one model: the rows that each computes, the order of additions, and the handling of failures.

tree      a batch cut into shards, and the one order in which shards are added
adder     the sum of what all shards of a step contribute
comm      the interface of a communicator; one process alone
mpi       the processes of an MPI job, through mpi4py
watch     a limit on the time that a process waits for others
world     the processes that this one was started with
alike     comparisons between processes: data, settings, versions, states
guard     one message and exit code for a failure on one or all processes
job       a command on several processes, started by mpiexec, and started again after a crash

It imports only NumPy, `bpengine.errors` and `bpengine.system`, and mpi4py only in an MPI job.
"""

from bpengine.distributed.adder import ShardAdder
from bpengine.distributed.comm import Comm, Solo
from bpengine.distributed.guard import guarded
from bpengine.distributed.tree import Cut, Tree
from bpengine.distributed.world import world

__all__ = ["Comm", "Cut", "ShardAdder", "Solo", "Tree", "guarded", "world"]
