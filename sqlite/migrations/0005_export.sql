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
