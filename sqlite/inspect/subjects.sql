-- Which subjects take the most room among the rows that wait?
.mode column
.headers on
SELECT lane, subject, count(*) AS rows, sum(size) AS bytes FROM v_backlog
GROUP BY lane, subject ORDER BY bytes DESC LIMIT 20;
