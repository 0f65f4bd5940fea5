-- How many rows were accepted in each hour (of those that are still here)? By the wall clock of this host.
.mode column
.headers on
SELECT strftime('%Y-%m-%d %H:00', wall / 1000000000, 'unixepoch') AS hour, lane, count(*) AS rows, sum(size) AS bytes
FROM v_rows GROUP BY hour, lane ORDER BY hour, lane;
