"""Sites of many nodes: one leads and reaches the SaaS, the others drain into it.

    follower: outbox --uplink--> BusLink ==bus==> leader: site_batch --settled--> outbox --uplink--> the SaaS

The leader hosts the *bus*, a nats-server of its own with TLS from the site's authority, where every user is a key and
may speak under its own name only. A follower runs the same uplink as everybody; its link is `BusLink`, which speaks to
the leader instead of JetStream: the checkpoint, its compare-and-swap and all that is concluded from it are the same.

Roles and keys come from enrolment: the SaaS keeps an authority for each site, and each node's grant holds a token for
its key under its own name, and for a node that may lead the certificate of its bus. A bus lets in whom the authority
has signed, so it needs no list of nodes and no SaaS. Where nothing is enrolled, `mra site` makes the keys.

Two rules carry the promise (exactly once and in order per node) over both hops and over a change of leader:

  1. *The leader answers after the commit.* A batch and its checkpoint are stored in one SQLite transaction.
  2. *A batch is the leader's once the follower has settled it.* Until then it lies in `site_batch`, and no row of it is
     sent to the SaaS. The follower's settlement, one transaction of its own, is the decision; it is told with the next
     message. So a batch whose answer was lost still belongs to the follower, and may be given to another leader.

A *stint* is the time under one leader in one term. With each, a follower's lanes begin a new epoch behind what is
settled, in one transaction that also keeps where the old stint ended (`site_mark`). Rows that the old leader
acknowledged are durable there and are not sent again; when it is heard again, it is told that mark, delivers what was
settled and forgets the rest. Its own backlog goes to the SaaS under its own name in any case.

Order holds within a stint. Rows that only an old leader has come when it does, behind younger ones that took the other
way; as a node never gives a number twice, `seq` tells where they belong.

A *term* grows with every change of leader. A follower joins no leader of a lower term than the highest it has joined,
and none but the one it knows in that term: a leader that comes back is left alone, whatever it believes.

Each row of a follower carries `Mra-Origin: <node>-<lane> <epoch> <seq> <previous>` to the SaaS. The leader writes it,
with the node's name taken from the subject on which the bus let its user speak; producers and submissions cannot set
it, because names in `Mra-` are refused. `mra saas verify` follows each node's chain as it follows the leader's.

Subjects on the bus; a follower publishes on its own only, and hears its own inbox and the feeds:

    site.<node>.hello                what is known of terms, and where earlier stints ended
    site.<node>.checkpoint.<lane>    the newest checkpoint of the lane in this stint
    site.<node>.commit.<lane>        rows (or none) and their checkpoint, by compare-and-swap
    site.<node>.report               what is settled of each lane, and what waits
    site.<node>.desired              a key of desired state
    site.<node>.governor             a governor's capacity, a slot, a change of a slot
    site_feed.desired                the newest index of desired state

Modules, pure ones first:

    words.py       what is said on the bus
    inbox.py       the leader's tables: units for the outbox's transactions
    terms.py       terms, stints and marks: units as well
    link.py        `BusLink`, the follower's side of a lane
    leader.py      task: answer the followers
    follower.py    finding the leader, telling what is settled, hearing other leaders
    desired.py     desired state over the bus
    governors.py   slots that the leader hands out, with or without the SaaS
    orders.py      who shall lead, as the SaaS's desired state says it
    keys.py        the site's authority, certificates, keys and who may follow, as `mra site` makes them by hand
    authority.py   the authority of an enrolled site: what the SaaS signs for its nodes
    granted.py     who an enrolled node is on the bus, and what its own bus believes
    bus.py         task: the nats-server
    relay.py       task: pass on the enrolments of nodes that cannot reach the SaaS
    status.py      what `mra status` and `mra site ls` show

Invariants:
  * a row of a follower is in exactly one place of its own: waiting there, or settled and then the leader's;
  * a leader refuses what it has no room for, and sheds nothing of its own for it: the follower keeps its rows;
  * requests that wait for the leader's disk are bounded by bytes; the rest is told to come again.
"""
