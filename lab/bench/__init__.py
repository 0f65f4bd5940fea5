"""Measurements, always as ratios to a limit measured in the same run by a bare loop.

    limits.py   the bare loops: SQLite executemany, plain pipelined JetStream publishes over a socket
    accept.py   producers against the bare SQLite loop
    drain.py    the uplink against the bare socket; a 2-million-row backlog; latencies
    daemon.py   a real daemon: a large backlog, its memory, and what it costs when there is nothing to do
    fleet.py    500 machines in one agent
    herd.py     many agents that lose their SaaS at one moment
    run         runs them and prints the table

Machines are shared and noisy, so limit and subject alternate and medians are compared. Nothing here is a test.
"""
