DROP TABLE request_ids;
ALTER TABLE models DROP COLUMN revision;
