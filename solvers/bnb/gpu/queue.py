"""Who waits for work, and how a node gets to them: lists and mailboxes in the memory of the device.

Every group of lanes has one mailbox. A group without work takes a root of its plan that nobody has taken; when
there is none, it writes its name on the plan's list, at a place that it draws, and says that one more waits. A
group that wants to give first takes one from the number of those that wait, then draws the place whose name it
takes; so whoever may give has a name, at once or as soon as the other has written it. At most as many names are
on the list as there are groups, and the list has more places. A record is open until its subtree is searched;
it is counted before its receiver can see it, so no open record is left when the count is 0.

`build` takes the functions of a device, see `primitives`; nothing is imported here.
"""

from __future__ import annotations

from typing import Any

NEXT, HEAD, TAIL, WAITING, PENDING, WORKERS, COUNTERS = range(7)
"""Counters of a plan: roots taken, places drawn to write, to read, names left, open records, groups here."""

NOTHING, RECORD, END = range(3)
"""What a group finds that asks for work."""


def build(gpu: Any) -> Any:
    """`take`, `should_give` and `offer`, for one lane of each group."""
    cuda, inlined, int32, int64, uint32, peek = gpu.cuda, gpu.inlined, gpu.int32, gpu.int64, gpu.uint32, gpu.peek

    @inlined
    def take(
        me: Any,
        listed: Any,
        counters: Any,
        at: Any,
        roots: Any,
        waiting: Any,
        list_: Any,
        names: Any,
        box_full: Any,
    ) -> Any:
        """NOTHING, RECORD or END; the root that was taken (-1: look into the mailbox); whether the name is listed.

        at, roots : where the plan's counters begin, and how many roots it has.
        list_, names : where its list begins, and its places, a power of two.
        """
        state, root = int32(NOTHING), int32(-1)
        if not listed:
            drawn = int32(cuda.atomic.add(counters, uint32(at + int32(NEXT)), 1))
            if drawn < roots:
                state, root = int32(RECORD), drawn
            else:
                place = int32(cuda.atomic.add(counters, uint32(at + int32(HEAD)), 1))
                place = list_ + (place & (names - int32(1)))
                while int32(cuda.atomic.cas(waiting, uint32(place), -1, me)) != int32(-1):
                    pass
                cuda.threadfence()
                cuda.atomic.add(counters, uint32(at + int32(WAITING)), 1)
                listed = True
        elif peek(box_full, uint32(me)) != 0:
            cuda.atomic.exch(box_full, uint32(me), 0)
            state, listed = int32(RECORD), False
        elif peek(counters, uint32(at + int32(PENDING))) == 0:
            state = int32(END)
        return state, root, listed

    @inlined
    def should_give(me: Any, steps: Any, counters: Any, at: Any) -> Any:
        """Whether to look for somebody: as many groups do as wait, on the average."""
        wait = int64(peek(counters, uint32(at + int32(WAITING))))
        others = int64(peek(counters, uint32(at + int32(WORKERS)))) - wait
        draw = uint32(uint32(me) * uint32(2654435761))
        draw = uint32(draw ^ uint32(uint32(steps) * uint32(2246822519)))
        draw = uint32(draw * uint32(3266489917))
        return wait > 0 and int64(draw >> uint32(16)) * others < wait * int64(65536)

    @inlined
    def offer(counters: Any, at: Any, waiting: Any, list_: Any, names: Any) -> Any:
        """The name of a group that waits, for which a record is now counted; -1: none."""
        to = int32(-1)
        if int32(cuda.atomic.add(counters, uint32(at + int32(WAITING)), -1)) > int32(0):
            place = int32(cuda.atomic.add(counters, uint32(at + int32(TAIL)), 1))
            place = list_ + (place & (names - int32(1)))
            while to < int32(0):
                to = int32(cuda.atomic.exch(waiting, uint32(place), -1))
            cuda.atomic.add(counters, uint32(at + int32(PENDING)), 1)
        else:
            cuda.atomic.add(counters, uint32(at + int32(WAITING)), 1)
        return to

    return take, should_give, offer
