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
