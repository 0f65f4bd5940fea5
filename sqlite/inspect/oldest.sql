-- Since when does the oldest row of each lane wait?
.mode column
.headers on
SELECT lane, min(seq) AS seq, min(accepted_at) AS accepted_at, count(*) AS waiting FROM v_backlog GROUP BY lane;
