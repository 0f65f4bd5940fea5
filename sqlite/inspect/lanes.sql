-- Where does every lane stand?
.mode column
.headers on
SELECT lane, accepted, delivered, waiting, parked, shed, waiting_bytes, held FROM v_lanes;
