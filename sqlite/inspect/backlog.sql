-- What waits, oldest first, in each lane? (without the bodies)
.mode column
.headers on
SELECT lane, seq, accepted_at, subject, size, in_flight FROM v_backlog ORDER BY lane, seq LIMIT 40;
