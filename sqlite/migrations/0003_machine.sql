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
