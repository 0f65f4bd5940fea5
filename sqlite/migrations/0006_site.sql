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
