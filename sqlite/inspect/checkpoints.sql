-- What does the SaaS provably hold, of what is still kept here?
.mode column
.headers on
SELECT lane, count(*) AS stretches, min(first_seq) AS first_seq, max(through_seq) AS through_seq, sum(count) AS rows,
       max(stream_seq) AS stream_seq, max(settled_at) AS settled_at
FROM v_checkpoints GROUP BY lane;
