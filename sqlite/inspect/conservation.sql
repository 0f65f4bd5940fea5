-- Does every lane add up? `imbalance` must be 0, and so must the difference of counted and booked rows.
.mode column
.headers on
SELECT l.lane, l.imbalance, l.waiting AS booked, (SELECT count(*) FROM v_backlog b WHERE b.lane = l.lane) AS counted
FROM v_lanes l;
