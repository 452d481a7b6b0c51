"""The agenda of a compiled run, a heap, and what is in use over time.

What is called for every event takes the arrays that it needs, and not all of the state: that is copied for every call.
"""

import numpy as np

from kubelib.sim.cell.compiled.compiling import inner
from kubelib.sim.cell.compiled.state import Records


@inner
def push(
    sheet: Records,
    agenda: Records,
    time: float,
    kind: int,
    number: int,
    job: int,
    begin: int,
    end: int,
    think: float,
) -> None:
    """Put an event on the agenda; there must be room for it."""
    place = sheet.live
    sheet.live += 1
    sheet.serial += 1
    while place > 0:
        above = (place - 1) >> 1
        # the new event is the last of those of equal times
        if agenda[above].time <= time:
            break
        agenda[place] = agenda[above]
        place = above
    event = agenda[place]
    event.time = time
    event.serial = sheet.serial
    event.kind = kind
    event.number = number
    event.job = job
    event.begin = begin
    event.end = end
    event.think = think


@inner
def pop(sheet: Records, agenda: Records) -> None:
    """Put the first event of the agenda behind the last one: there it is until the next push."""
    count = sheet.live - 1
    sheet.live = count
    # the last place of all is never one of the heap's
    spare = len(agenda) - 1
    agenda[spare] = agenda[count]
    agenda[count] = agenda[0]
    last = agenda[spare]
    place = 0
    while True:
        below = 2 * place + 1
        if below >= count:
            break
        other = below + 1
        if other < count and (
            agenda[other].time < agenda[below].time
            or (agenda[other].time == agenda[below].time and agenda[other].serial < agenda[below].serial)
        ):
            below = other
        if last.time < agenda[below].time or (
            last.time == agenda[below].time and last.serial < agenda[below].serial
        ):
            break
        agenda[place] = agenda[below]
        place = below
    if place < count:
        agenda[place] = last


@inner
def use(sheet: Records, now: float, cpu: float, memory: float) -> None:
    """Note that from `now` on so much more is in use; see `kubelib.sim.cell.state.Usage`."""
    last = sheet.last
    if now > last:
        ticks = np.int64(now) - np.int64(last)
        if ticks:
            sheet.ticks += ticks
            sheet.looks_cpu += ticks * sheet.used_cpu
            sheet.looks_memory += ticks * sheet.used_memory
        sheet.integral_cpu += (now - last) * sheet.used_cpu
        sheet.integral_memory += (now - last) * sheet.used_memory
        sheet.last = now
    sheet.used_cpu += cpu
    sheet.used_memory += memory
