DROP TRIGGER jobs_unqueued;
DROP TRIGGER jobs_moved;
DROP TRIGGER jobs_queued;
DROP TABLE queue_totals;
ALTER TABLE jobs DROP COLUMN request_bytes;
DROP INDEX idx_jobs_batch;
ALTER TABLE jobs DROP COLUMN batch_id;
DROP TABLE request_ids;
