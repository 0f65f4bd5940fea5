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
    pace.py        how large the next batch may be, so that lanes share the link
    link.py        the seam: what a lane needs of the SaaS
    jetstream.py   the seam on a real session
    lane.py        task: one lane, from its rows to its settlements
    service.py     task: connect, run the lanes, lose the link, back off, again

Invariants:
  * nothing is settled but by a checkpoint of ours that the SaaS holds;
  * rows are staged only after their claim is on disk, and a claim is lifted only after a checkpoint was read;
  * at most one batch of a lane is being committed; the next may be staged behind it;
  * a rewind happens only after the SaaS accepted a compare-and-swap against the older checkpoint, so that a stale
    replica cannot cause one.
"""
