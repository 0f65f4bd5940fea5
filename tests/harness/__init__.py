"""Faults as instruments: what the chaos tests break, and how they count afterwards.

The promise under test is "accepted is stored exactly once, in order". To prove it, a test needs three things that share
no code with the product: a way to break something real, a record of what producers were told, and a reader that looks
at what the SaaS holds.

    producers --ledger--.                       breaks:  Saas (kill, suspend, wipe, restore), Proxy (cut, stall, half
        |                \\                                open, lose an answer), disks (full, read-only, snapshots),
      site ---proxy--- saas --wire--> reconcile            clock (steps of the wall clock)

    site        an agent as a real process, and its producers (offers, producer, loaded_agent)
    counting    the streams against the ledger
    processes   children that never outlive the tests, whatever kills those
    saas        a real nats-server with the streams and accounts of the lab
    cluster     three such servers with replicated streams, which can be cut off from each other
    fleet       hundreds of agents in one process
    herd        how their return spreads over time, and a simulation of thousands
    wire        the reader: an own small NATS client
    ledger      what was accepted, and `reconcile`, the count every chaos test ends in   (pure)
    proxy       a TCP proxy with controls
    disks       small file systems on loop devices and their snapshots at one instant
    clock       a preloaded library that shifts the wall clock of a running process

Each instrument is tested in `tests/harness_checks` for its ability to fail: an instrument that cannot show a loss
proves nothing by showing none.
"""
