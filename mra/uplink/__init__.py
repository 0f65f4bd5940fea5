"""The uplink drains the outbox into the SaaS's streams: exactly once, in order per lane, whatever the clock says.

    outbox.read --> Batch --> stage (rows) --> commit (checkpoint, compare-and-swap) --> settle
                      ^                                |
                      `------- reconcile <-------------'  after every connect and every unclear outcome

A batch is up to 999 rows of one lane and a *checkpoint*, published as one atomic batch (ADR-50, server 2.12+): stored
together or not at all. The checkpoint names the rows it covers and expects its predecessor to be the newest message
on its own subject. So the SaaS itself refuses a replay, a second daemon on a copied database or a late packet, and
reading the newest checkpoint tells what is stored, without any time window.

Modules, pure ones first:

    checkpoint.py  the checkpoint's words
    batch.py       rows as frames for the wire
    answers.py     what an answer of JetStream means for us
    reconcile.py   our marks against the SaaS's checkpoint: in step, ahead, behind, foreign
    status.py      what `mra status` shows of all this
    likeness.py    what our own rows, and our sealed files, say about a checkpoint
    pace.py        how large the next batch may be, so that lanes share the link
    reach.py       whether the server at the other end leads anywhere, or another one should be tried
    link.py        the seam: what a lane needs of the SaaS
    jetstream.py   the seam on a real session
    recovery.py    after every connect and everything unclear: carry out what reconcile.py says
    sending.py     one lane's batches: read, claimed, staged, committed, settled
    lane.py        task: one lane, and what to do when sending goes wrong
    service.py     task: connect, run the lanes, lose the link, back off, again

Where a stream takes no atomic batches, rows are published one by one, with message ids: exactly once only within the
stream's duplicate window, and `mra status` says so. There a row may name a predecessor that was refused and parked,
which `mra saas verify` then shows as missing.

What no writer can notice: a copy of this database that delivered for weeks and is then lost together with a SaaS that
is restored from before; and `mra outbox adopt` after such a restore. Both need a person to say which rows count.

Invariants:
  * nothing is settled but by a checkpoint of ours that the SaaS holds;
  * rows are staged only after their claim is on disk, and a claim is lifted only after a checkpoint was read;
  * a row that was published singly is never put into an atomic batch before a checkpoint covers it;
  * at most one batch of a lane is being committed; the next may be staged behind it;
  * a rewind happens only after the SaaS accepted a compare-and-swap against the older checkpoint, so that a stale
    replica cannot cause one.
"""
