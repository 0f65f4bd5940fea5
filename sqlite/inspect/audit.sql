-- Who changed what by hand, and what did the agent decide on its own?
.mode column
.headers on
SELECT at, actor, action, lane, count, detail FROM v_audit ORDER BY no DESC LIMIT 40;
