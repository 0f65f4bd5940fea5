-- The database as it stands today: every migration in order. A test holds this file to `migrations/`.

-- The outbox: every event, metric, node report and submission that this agent has accepted.
--
-- Each lane is a table of its own. Appends go to the right edge of its B-tree, delivered rows are deleted from the
-- left edge in slices, and a reader of one lane never steps over the rows of another. Where a lane stands is one
-- small row in `lane`; no stored row is ever updated:
--
--     seq <= settled_through                      delivered, kept for the replay window
--     settled_through < seq <= claimed_through    sent or about to be sent; no policy may shed it
--     claimed_through < seq                       waiting
--
-- Conservation law, kept by every transaction: accepted = delivered + waiting + parked + shed.

CREATE TABLE meta (
  -- Facts about the file itself: `salvaged_from` names the damaged file that this one was rebuilt from.
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE boot (
  -- One row per boot of the host. The outbox's own clock counts only time that the host was seen running, so no step
  -- of the wall clock can age a row: it reads `elapsed + (mono - mono_from)`.
  no        INTEGER PRIMARY KEY,
  boot_id   TEXT    NOT NULL UNIQUE,
  elapsed   INTEGER NOT NULL,  -- the outbox's own clock, ns, when this boot was first seen
  mono_from INTEGER NOT NULL,  -- CLOCK_BOOTTIME, ns, at that moment
  mono_last INTEGER NOT NULL   -- CLOCK_BOOTTIME, ns, when the host was last seen running
) STRICT;

CREATE TABLE lane (
  -- Where each lane stands.
  name            TEXT PRIMARY KEY,
  rank            INTEGER NOT NULL,            -- order of display
  epoch           TEXT    NOT NULL,            -- random name of this run of sequence numbers at the SaaS
  next_seq        INTEGER NOT NULL DEFAULT 1,
  claimed_through INTEGER NOT NULL DEFAULT 0,
  settled_through INTEGER NOT NULL DEFAULT 0,
  checkpoint_seq  INTEGER NOT NULL DEFAULT 0,  -- stream sequence of the newest checkpoint we know of
  epoch_total     INTEGER NOT NULL DEFAULT 0,  -- rows delivered in this epoch; the checkpoint carries it too
  thinned_through INTEGER NOT NULL DEFAULT 0,  -- how far a sweep of the policy `thin` has come
  thin_until      INTEGER NOT NULL DEFAULT 0,  -- and where it ends
  accepted        INTEGER NOT NULL DEFAULT 0,
  delivered       INTEGER NOT NULL DEFAULT 0,
  waiting         INTEGER NOT NULL DEFAULT 0,
  parked          INTEGER NOT NULL DEFAULT 0,
  shed            INTEGER NOT NULL DEFAULT 0,
  accepted_bytes  INTEGER NOT NULL DEFAULT 0,
  waiting_bytes   INTEGER NOT NULL DEFAULT 0,
  held            TEXT,                        -- why the lane stands still; NULL while it may run
  CHECK (accepted = delivered + waiting + parked + shed),
  CHECK (settled_through <= claimed_through AND claimed_through < next_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE row_submissions (
  -- The rows of one lane; the other lanes have the same columns.
  seq     INTEGER PRIMARY KEY,
  size    INTEGER NOT NULL,   -- bytes that count against the lane's limit
  sum     INTEGER NOT NULL,   -- CRC-32 over seq, id, subject, headers and body
  wall    INTEGER NOT NULL,   -- wall clock, ns since 1970: for people, never for decisions
  mono    INTEGER NOT NULL,   -- CLOCK_BOOTTIME, ns, in boot number `boot`
  boot    INTEGER NOT NULL,
  expires INTEGER,            -- on the outbox's own clock, ns: when the producer no longer wants it delivered
  id      TEXT    NOT NULL,   -- random; names the record wherever it goes
  subject TEXT    NOT NULL,   -- relative to the lane's prefix
  key     TEXT,               -- what `newest-per-key` compares
  headers TEXT,               -- ready for the wire: "Name: value" lines ending in CR LF
  body    BLOB    NOT NULL    -- last, so that no other column hides behind its overflow pages
) STRICT;
CREATE INDEX row_submissions_id ON row_submissions (id);  -- a repeated submission is recognised by its id

CREATE TABLE row_events (
  seq INTEGER PRIMARY KEY, size INTEGER NOT NULL, sum INTEGER NOT NULL,
  wall INTEGER NOT NULL, mono INTEGER NOT NULL, boot INTEGER NOT NULL, expires INTEGER,
  id TEXT NOT NULL, subject TEXT NOT NULL, key TEXT, headers TEXT, body BLOB NOT NULL
) STRICT;

CREATE TABLE row_nodes (
  seq INTEGER PRIMARY KEY, size INTEGER NOT NULL, sum INTEGER NOT NULL,
  wall INTEGER NOT NULL, mono INTEGER NOT NULL, boot INTEGER NOT NULL, expires INTEGER,
  id TEXT NOT NULL, subject TEXT NOT NULL, key TEXT, headers TEXT, body BLOB NOT NULL
) STRICT;

CREATE TABLE row_metrics (
  seq INTEGER PRIMARY KEY, size INTEGER NOT NULL, sum INTEGER NOT NULL,
  wall INTEGER NOT NULL, mono INTEGER NOT NULL, boot INTEGER NOT NULL, expires INTEGER,
  id TEXT NOT NULL, subject TEXT NOT NULL, key TEXT, headers TEXT, body BLOB NOT NULL
) STRICT;

-- Partial indexes: rows without a key or without an expiry cost nothing.
CREATE INDEX row_submissions_key ON row_submissions (key, seq) WHERE key IS NOT NULL;
CREATE INDEX row_events_key ON row_events (key, seq) WHERE key IS NOT NULL;
CREATE INDEX row_nodes_key ON row_nodes (key, seq) WHERE key IS NOT NULL;
CREATE INDEX row_metrics_key ON row_metrics (key, seq) WHERE key IS NOT NULL;
CREATE INDEX row_submissions_expires ON row_submissions (expires) WHERE expires IS NOT NULL;
CREATE INDEX row_events_expires ON row_events (expires) WHERE expires IS NOT NULL;
CREATE INDEX row_nodes_expires ON row_nodes (expires) WHERE expires IS NOT NULL;
CREATE INDEX row_metrics_expires ON row_metrics (expires) WHERE expires IS NOT NULL;

CREATE TABLE checkpoint (
  -- Stretches of rows that the SaaS is known to hold, for as long as the rows are kept: a batch each, or several small
  -- ones that were settled within seconds.
  lane        TEXT    NOT NULL,
  through_seq INTEGER NOT NULL,
  epoch       TEXT    NOT NULL,
  first_seq   INTEGER NOT NULL,
  count       INTEGER NOT NULL,
  bytes       INTEGER NOT NULL,
  stream_seq  INTEGER NOT NULL,  -- of the newest checkpoint among them
  wall INTEGER NOT NULL, mono INTEGER NOT NULL, boot INTEGER NOT NULL,  -- when the first of them was settled
  PRIMARY KEY (lane, through_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
  -- Dead letters: rows that the SaaS refused for good, or whose bytes no longer match their checksum.
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  lane TEXT NOT NULL, seq INTEGER NOT NULL,
  reason      TEXT    NOT NULL,
  parked_wall INTEGER NOT NULL,
  size INTEGER NOT NULL, sum INTEGER NOT NULL, wall INTEGER NOT NULL, mono INTEGER NOT NULL, boot INTEGER NOT NULL,
  expires INTEGER, id TEXT NOT NULL, subject TEXT NOT NULL, key TEXT, headers TEXT, body BLOB NOT NULL
) STRICT;
CREATE INDEX parked_id ON parked (lane, id);

CREATE TABLE loss (
  -- What left without being delivered, and why. Neighbouring losses of one reason share a row.
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  lane      TEXT    NOT NULL,
  reason    TEXT    NOT NULL,  -- age, ttl, bytes, superseded, thinned, dropped, corrupt, saas-lost-tail
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  count     INTEGER NOT NULL,
  bytes     INTEGER NOT NULL,
  detail    TEXT,
  wall      INTEGER NOT NULL,
  closed    INTEGER NOT NULL DEFAULT 0,  -- 1 when later losses go into a row of their own, so that a report stays true
  reported  INTEGER NOT NULL DEFAULT 0   -- 1 when an event has told the SaaS, or when nobody needs to be told
) STRICT;
CREATE INDEX loss_unreported ON loss (no) WHERE reported = 0;

CREATE TABLE audit (
  -- What people did to the outbox by hand, and rare decisions of the agent.
  no INTEGER PRIMARY KEY AUTOINCREMENT,
  wall   INTEGER NOT NULL,
  actor  TEXT    NOT NULL,
  action TEXT    NOT NULL,
  lane   TEXT,
  count  INTEGER NOT NULL,
  detail TEXT
) STRICT;

INSERT INTO lane (name, rank, epoch) VALUES
  ('submissions', 1, lower(hex(randomblob(8)))),
  ('events',      2, lower(hex(randomblob(8)))),
  ('nodes',       3, lower(hex(randomblob(8)))),
  ('metrics',     4, lower(hex(randomblob(8))));

-- The public inspection surface. Columns may be added to a view; they are never renamed or removed within a major
-- version. Bodies are shown as text (the tables hold the bytes). Programs should open the file read-only (`sqlite3 -readonly`, `mode=ro`).

CREATE VIEW v_lanes AS
-- One row per lane: its counters and marks. `imbalance` is 0, or the conservation law is broken.
SELECT name AS lane, accepted, delivered, waiting, parked, shed, waiting_bytes,
       accepted - delivered - waiting - parked - shed AS imbalance,
       next_seq - 1 AS last_seq, settled_through, claimed_through, checkpoint_seq, epoch, held
FROM lane ORDER BY rank;

CREATE VIEW v_rows AS
-- Every row that is still here, delivered ones within the replay window included. Ask for a lane and a range of `seq`.
SELECT 'submissions' AS lane, seq, id, subject, key, headers, CAST(body AS TEXT) AS body, size, wall FROM row_submissions
UNION ALL SELECT 'events',  seq, id, subject, key, headers, CAST(body AS TEXT) AS body, size, wall FROM row_events
UNION ALL SELECT 'nodes',   seq, id, subject, key, headers, CAST(body AS TEXT) AS body, size, wall FROM row_nodes
UNION ALL SELECT 'metrics', seq, id, subject, key, headers, CAST(body AS TEXT) AS body, size, wall FROM row_metrics;

CREATE VIEW v_backlog AS
-- Rows that wait, and those in flight: sent, but not yet proven to be stored.
SELECT 'submissions' AS lane, seq, id, subject, size, datetime(wall / 1000000000, 'unixepoch') AS accepted_at,
       seq <= (SELECT claimed_through FROM lane WHERE name = 'submissions') AS in_flight, CAST(body AS TEXT) AS body
FROM row_submissions WHERE seq > (SELECT settled_through FROM lane WHERE name = 'submissions')
UNION ALL
SELECT 'events', seq, id, subject, size, datetime(wall / 1000000000, 'unixepoch'),
       seq <= (SELECT claimed_through FROM lane WHERE name = 'events'), CAST(body AS TEXT) AS body
FROM row_events WHERE seq > (SELECT settled_through FROM lane WHERE name = 'events')
UNION ALL
SELECT 'nodes', seq, id, subject, size, datetime(wall / 1000000000, 'unixepoch'),
       seq <= (SELECT claimed_through FROM lane WHERE name = 'nodes'), CAST(body AS TEXT) AS body
FROM row_nodes WHERE seq > (SELECT settled_through FROM lane WHERE name = 'nodes')
UNION ALL
SELECT 'metrics', seq, id, subject, size, datetime(wall / 1000000000, 'unixepoch'),
       seq <= (SELECT claimed_through FROM lane WHERE name = 'metrics'), CAST(body AS TEXT) AS body
FROM row_metrics WHERE seq > (SELECT settled_through FROM lane WHERE name = 'metrics');

CREATE VIEW v_parked AS
-- Dead letters with the reason; `mra outbox requeue` and `mra outbox drop` take the number `no`.
SELECT no, lane, seq, id, subject, size, datetime(wall / 1000000000, 'unixepoch') AS accepted_at,
       datetime(parked_wall / 1000000000, 'unixepoch') AS parked_at, reason, CAST(body AS TEXT) AS body
FROM parked;

CREATE VIEW v_losses AS
-- What left undelivered, by reason and range.
SELECT no, lane, reason, count, bytes, first_seq, last_seq, datetime(wall / 1000000000, 'unixepoch') AS lost_at,
       detail, reported
FROM loss;

CREATE VIEW v_checkpoints AS
-- Stretches of delivered rows that are still kept, and the stream sequence of the checkpoint that proves each.
SELECT lane, first_seq, through_seq, count, bytes, stream_seq, epoch,
       datetime(wall / 1000000000, 'unixepoch') AS settled_at
FROM checkpoint;

CREATE VIEW v_audit AS
-- Who changed what by hand, and when.
SELECT no, datetime(wall / 1000000000, 'unixepoch') AS at, actor, action, lane, count, detail FROM audit;

-- Desired state: this agent's copy of its customer's keys in the CONFIG bucket of the SaaS.
--
-- Only the newest value of a key counts. Values and the mark of the index they belong to change in one transaction, so
-- a restart without network finds orders that fit together.

CREATE TABLE desired (
  key      TEXT    PRIMARY KEY,  -- without the customer
  revision INTEGER NOT NULL,     -- the stream sequence that the bucket gave the value; starts again with a new bucket
  change   INTEGER NOT NULL,     -- counts changes of this copy; never goes back
  wall     INTEGER NOT NULL,     -- wall clock, ns since 1970, when the value came here: for people
  value    BLOB    NOT NULL
) STRICT;

CREATE TABLE desired_index (
  -- The index that the copy follows. No row: no index was ever seen, and nothing is known about any key.
  no       INTEGER PRIMARY KEY CHECK (no = 1),
  customer TEXT    NOT NULL,  -- whose keys these are
  revision INTEGER NOT NULL,  -- of the index itself
  written  INTEGER NOT NULL,  -- ns since 1970 by the clock of the SaaS; 0 when unknown
  bucket   TEXT    NOT NULL,  -- names the bucket among its re-creations; empty when unknown
  changes  INTEGER NOT NULL,  -- the last number that `desired.change` took
  wall     INTEGER NOT NULL   -- when the index was last found to be the newest
) STRICT;

CREATE VIEW v_desired AS
-- What the SaaS wants of this agent, as far as the agent knows.
SELECT key, revision, length(value) AS size, datetime(wall / 1000000000, 'unixepoch') AS received_at, value
FROM desired ORDER BY key;

-- Autonomous agents: where each of them stands.
--
-- A row changes in the transaction that accepts the event about it, so that neither can be seen without the other.

CREATE TABLE machine (
  -- The last known state of each machine, by its name; what was removed stays until a machine of that name comes.
  name      TEXT    PRIMARY KEY,
  version   TEXT    NOT NULL,
  state     TEXT    NOT NULL,
  since     INTEGER NOT NULL,  -- wall clock, ns since 1970, when the state was entered: for people
  instance  TEXT    NOT NULL,  -- new at every load; `data.id` of its events
  directory TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE VIEW v_machines AS
-- Autonomous agents and the state each of them was last seen in.
SELECT name, version, state, datetime(since / 1000000000, 'unixepoch') AS since, instance, directory
FROM machine ORDER BY name;

-- Rows that were published one by one, to a stream without atomic batches.
--
-- Such a row may be stored although no checkpoint covers it, so it is sent one by one again, with the message id that
-- the stream may remember, also by a process that knows nothing of the one before it.

ALTER TABLE lane ADD COLUMN singly_through INTEGER NOT NULL DEFAULT 0;  -- the last row that was ever published so

-- Rows that left in a sealed file, and what is remembered of such files until the SaaS has answered.
--
-- While an answer may still come, rows up to `exported_through` are not shed: they may be at the SaaS. Once a file has
-- waited too long for it, `exported_overdue` lets the policies have them again.

ALTER TABLE lane ADD COLUMN exported_through INTEGER NOT NULL DEFAULT 0;  -- the last row that stands in an unanswered file
ALTER TABLE lane ADD COLUMN exported_overdue INTEGER NOT NULL DEFAULT 0;  -- 1 when the oldest of these files waits too long

CREATE TABLE export (
  -- One lane's part of one sealed file: kept when it is answered, too, as a file may be stored again by a restored SaaS.
  file        TEXT    NOT NULL,  -- random; the file carries it, and its acknowledgement names it
  lane        TEXT    NOT NULL,
  epoch       TEXT    NOT NULL,
  first_seq   INTEGER NOT NULL,
  through_seq INTEGER NOT NULL,
  last_seq    INTEGER NOT NULL DEFAULT 0,  -- its last row, and when that was accepted (ns since 1970): they tell that a
  last_wall   INTEGER NOT NULL DEFAULT 0,  -- checkpoint at the SaaS stems from this file even where its rows are gone here
  answered    INTEGER NOT NULL DEFAULT 0,  -- 1 when nobody waits for an answer any more
  wall INTEGER NOT NULL, mono INTEGER NOT NULL, boot INTEGER NOT NULL,
  PRIMARY KEY (file, lane)
) STRICT, WITHOUT ROWID;

CREATE VIEW v_exports AS
-- Sealed files that no answer has come for. `kept` is 1 while their rows are safe from every policy.
SELECT export.file, export.lane, export.first_seq, export.through_seq, export.epoch,
       datetime(export.wall / 1000000000, 'unixepoch') AS exported_at,
       lane.exported_overdue = 0 AS kept
FROM export JOIN lane ON lane.name = export.lane WHERE answered = 0;

-- Sites: who leads, into whom this node drains, and what a leader holds for its followers.
--
-- A batch of a follower lies in `site_batch` until the follower says that it has settled it: only then are its rows the
-- leader's to deliver. So a batch whose answer got lost still belongs to the follower, who may hand it to another leader.

ALTER TABLE lane ADD COLUMN based_at INTEGER NOT NULL DEFAULT 0;  -- rows up to here were delivered elsewhere before

CREATE TABLE site_term (
  -- The highest term that this node knows of, and who leads in it.
  no     INTEGER PRIMARY KEY CHECK (no = 1),
  term   INTEGER NOT NULL,
  leader TEXT    NOT NULL
) STRICT;

CREATE TABLE site_stint (
  -- The leader into which this node drains; no row while it drains into the SaaS. A new leader, or a new term, is a new
  -- stint, and each lane begins a new epoch with it.
  no     INTEGER PRIMARY KEY CHECK (no = 1),
  stint  TEXT    NOT NULL,
  leader TEXT    NOT NULL,
  term   INTEGER NOT NULL
) STRICT;

CREATE TABLE site_mark (
  -- Where the lanes of earlier stints ended, until the leader of that time has heard it: it delivers what was settled
  -- and forgets the rest.
  stint  TEXT    NOT NULL,
  lane   TEXT    NOT NULL,
  leader TEXT    NOT NULL,
  number INTEGER NOT NULL,  -- of the last settled checkpoint
  PRIMARY KEY (stint, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE site_checkpoint (
  -- At a leader: the newest checkpoint of each follower's lane. Numbers only grow.
  follower TEXT    NOT NULL,
  lane     TEXT    NOT NULL,
  stint    TEXT    NOT NULL,
  number   INTEGER NOT NULL,
  body     TEXT    NOT NULL,  -- JSON, as at the SaaS
  wall     INTEGER NOT NULL,  -- ns since 1970: for people
  PRIMARY KEY (follower, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE site_batch (
  -- At a leader: batches that are stored and not known to be settled by their follower.
  follower TEXT    NOT NULL,
  lane     TEXT    NOT NULL,
  number   INTEGER NOT NULL,  -- of the checkpoint that was stored with it
  stint    TEXT    NOT NULL,
  count    INTEGER NOT NULL,
  bytes    INTEGER NOT NULL,
  rows     BLOB    NOT NULL,
  PRIMARY KEY (follower, lane, number)
) STRICT;

CREATE TABLE site_governor (
  -- At a leader: governors of the site, and since when it hands out their slots.
  name    TEXT    PRIMARY KEY,
  slots   INTEGER NOT NULL,
  lease   INTEGER NOT NULL,  -- seconds
  term    INTEGER NOT NULL,
  open_at INTEGER NOT NULL   -- the outbox's own clock, ns: before, slots of the leader before may still be held
) STRICT, WITHOUT ROWID;

CREATE TABLE site_slot (
  -- At a leader: slots as they were last changed; an empty holder has given it back.
  governor TEXT    NOT NULL,
  number   INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  owner    TEXT    NOT NULL,
  holder   TEXT    NOT NULL,
  until    INTEGER NOT NULL,  -- the outbox's own clock, ns: when the lease ends
  PRIMARY KEY (governor, number)
) STRICT, WITHOUT ROWID;

CREATE VIEW v_followers AS
-- At a leader: each follower's lanes, how far they are stored here, and rows whose follower has not settled them yet.
SELECT c.follower, c.lane, c.body ->> 'through_seq' AS through_seq, c.number,
       datetime(c.wall / 1000000000, 'unixepoch') AS stored_at,
       coalesce((SELECT sum(b.count) FROM site_batch AS b WHERE b.follower = c.follower AND b.lane = c.lane), 0) AS unsettled
FROM site_checkpoint AS c ORDER BY c.follower, c.lane;
