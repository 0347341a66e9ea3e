-- Calls that created something, so that a repetition of one creates nothing.
CREATE TABLE request_ids (
    key_id TEXT NOT NULL,
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    resource TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (key_id, method, request_id)
) WITHOUT ROWID;
CREATE INDEX idx_request_ids_created ON request_ids (created_at);

-- Jobs that were submitted together.
ALTER TABLE jobs ADD COLUMN batch_id TEXT;
CREATE INDEX idx_jobs_batch ON jobs (batch_id, creation_timestamp, mobilesd_job_id)
    WHERE batch_id IS NOT NULL;

-- How much waits: counted as jobs come and go, since counting a long queue at
-- every submission would take as long as the queue is long.
ALTER TABLE jobs ADD COLUMN request_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET request_bytes = length(CAST(generation_params_json AS BLOB))
    WHERE status = 'pending';
CREATE TABLE queue_totals (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    jobs INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL
);
INSERT INTO queue_totals (id, jobs, request_bytes)
    SELECT 1, count(*), ifnull(sum(request_bytes), 0) FROM jobs WHERE status = 'pending';

CREATE TRIGGER jobs_queued AFTER INSERT ON jobs WHEN NEW.status = 'pending'
BEGIN
    UPDATE queue_totals
    SET jobs = jobs + 1, request_bytes = request_bytes + NEW.request_bytes WHERE id = 1;
END;

CREATE TRIGGER jobs_moved AFTER UPDATE OF status, request_bytes ON jobs
WHEN 'pending' IN (OLD.status, NEW.status)
    AND (OLD.status <> NEW.status OR OLD.request_bytes <> NEW.request_bytes)
BEGIN
    UPDATE queue_totals
    SET jobs = jobs + (NEW.status = 'pending') - (OLD.status = 'pending'),
        request_bytes = request_bytes + iif(NEW.status = 'pending', NEW.request_bytes, 0)
            - iif(OLD.status = 'pending', OLD.request_bytes, 0)
    WHERE id = 1;
END;

CREATE TRIGGER jobs_unqueued AFTER DELETE ON jobs WHEN OLD.status = 'pending'
BEGIN
    UPDATE queue_totals
    SET jobs = jobs - 1, request_bytes = request_bytes - OLD.request_bytes WHERE id = 1;
END;
