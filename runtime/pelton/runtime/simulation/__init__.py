"""The simulated world: the log port, clock, ids, processes and faults on virtual time (law 14)."""

from pelton.runtime.simulation.faults import Fault as Fault
from pelton.runtime.simulation.faults import Faults as Faults
from pelton.runtime.simulation.faults import plan as plan
from pelton.runtime.simulation.log import SimulatedLog as SimulatedLog
from pelton.runtime.simulation.loop import Process as Process
from pelton.runtime.simulation.loop import Stuck as Stuck
from pelton.runtime.simulation.loop import VirtualLoop as VirtualLoop
from pelton.runtime.simulation.loop import current as current
from pelton.runtime.simulation.server import SimulatedServer as SimulatedServer
from pelton.runtime.simulation.world import SimulatedWorld as SimulatedWorld
from pelton.runtime.simulation.world import run as run
