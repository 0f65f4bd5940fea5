-- What left undelivered, and why?
.mode column
.headers on
SELECT lane, reason, sum(count) AS rows, sum(bytes) AS bytes, min(first_seq) AS first_seq, max(last_seq) AS last_seq,
       max(lost_at) AS last_at
FROM v_losses GROUP BY lane, reason ORDER BY lane, reason;
