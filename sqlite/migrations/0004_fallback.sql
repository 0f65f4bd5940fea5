-- Rows that were published one by one, to a stream without atomic batches.
--
-- Such a row may be stored although no checkpoint covers it, so it is sent one by one again, with the message id that
-- the stream may remember, also by a process that knows nothing of the one before it.

ALTER TABLE lane ADD COLUMN singly_through INTEGER NOT NULL DEFAULT 0;  -- the last row that was ever published so
