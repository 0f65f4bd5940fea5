-- What did the SaaS refuse for good, and why?
.mode column
.headers on
SELECT no, lane, seq, parked_at, subject, size, reason FROM v_parked ORDER BY no;
