"""Autonomous agents: small state machines that watch and control a site, with or without anyone to talk to.

Choria's `machine.yaml` runs here unchanged. A *machine* has a state; *watchers* look at the world while the machine is
in certain states; what they find fires *transitions*, which lead to other states. Each change of state, and what
watchers find, goes out as events through the outbox.

    machine.yaml -> document -> manifest -> Manifest      text with places -> checked, frozen definition
                                               |
    scan -> fleet -> berth ----------------> Machine      directories -> one place each -> what runs there
                                             |     |
                                StateMachine, Pace  watchers      which state follows, how fast; what is looked at
                                             |     |
                                   events -> Services.record      one transaction: the state and its event

Over the air, the vendor's signed list becomes machines: `delivery` is the machine that follows the list, the `plugins`
watcher makes a manager (`managers`) for each entry, whose `archive` watcher deploys (`archives`) what was signed and
tries it out (`trial`).

Machines of several agents agree on a leader with the `election` watcher, an addition to Choria's: its seats are the
slots of a governor, and winning and losing one are transitions.

Pure: durations, words, document, decode, problems, section, manifest, definition, states, pace, events, graph, and the
languages (gjson, golang, templates, expressions, hiera, spec). With I/O: data, process, scan, scratch, and the
watchers. Tasks: `Fleet.run`, below it one `Machine.run` each, below that the watchers.

Invariants
- A manifest that is read can run: every check is made before anything starts. A broken edit leaves what runs alone.
- A transition is seen through alone: its state and its event are stored in one transaction, and only then do other
  machines and the own watchers learn of it.
- For a watcher: its outcome is remembered, then its event is published, then its transition fires.
- Nothing outlives what it belongs to: an evaluation ends when its state is left, watchers with their machine, processes
  with their evaluation.
- A crash in a watcher is a pause for this watcher, an error in an embedder's code costs one machine, and the picture
  that `Fleet.pictures` gives says so.
- State is not kept across restarts: a machine that is loaded begins in its initial state. Its data is.
"""
