-- What a key may have and until when, and its secret before the last rotation.
ALTER TABLE api_keys ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
ALTER TABLE api_keys ADD COLUMN expires_at TEXT;
ALTER TABLE api_keys ADD COLUMN queued_jobs_max INTEGER;
ALTER TABLE api_keys ADD COLUMN watches_max INTEGER;
ALTER TABLE api_keys ADD COLUMN old_secret_hash TEXT;
ALTER TABLE api_keys ADD COLUMN old_secret_expires_at TEXT;
CREATE INDEX idx_api_keys_created ON api_keys (created_at, id);

-- Since when calls need a key. It outlives the keys: whoever deletes the last
-- one does not open the service to everybody.
CREATE TABLE authentication (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    required_since TEXT NOT NULL
);
INSERT INTO authentication (id, required_since)
    SELECT 1, min(created_at) FROM api_keys HAVING count(*) > 0;

-- How many jobs of each key wait: counted as jobs come and go.
CREATE TABLE key_totals (
    key_id TEXT PRIMARY KEY NOT NULL,
    jobs INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO key_totals (key_id, jobs)
    SELECT api_key_id, count(*) FROM jobs
    WHERE status = 'pending' AND api_key_id IS NOT NULL GROUP BY api_key_id;

CREATE TRIGGER jobs_queued_by_key AFTER INSERT ON jobs
WHEN NEW.status = 'pending' AND NEW.api_key_id IS NOT NULL
BEGIN
    INSERT INTO key_totals (key_id, jobs) VALUES (NEW.api_key_id, 1)
        ON CONFLICT (key_id) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_moved_by_key AFTER UPDATE OF status ON jobs
WHEN NEW.api_key_id IS NOT NULL AND OLD.status <> NEW.status
    AND 'pending' IN (OLD.status, NEW.status)
BEGIN
    INSERT INTO key_totals (key_id, jobs) VALUES (NEW.api_key_id, 1)
        ON CONFLICT (key_id) DO UPDATE
        SET jobs = jobs + (NEW.status = 'pending') - (OLD.status = 'pending');
END;

CREATE TRIGGER jobs_unqueued_by_key AFTER DELETE ON jobs
WHEN OLD.status = 'pending' AND OLD.api_key_id IS NOT NULL
BEGIN
    UPDATE key_totals SET jobs = jobs - 1 WHERE key_id = OLD.api_key_id;
END;

-- Jobs by whose they are.
CREATE INDEX idx_jobs_key ON jobs (api_key_id, creation_timestamp, mobilesd_job_id);
CREATE INDEX idx_jobs_key_updated ON jobs (api_key_id, last_updated_timestamp, mobilesd_job_id)
    WHERE api_key_id IS NOT NULL;

-- What Forge's API and UI ask for, encrypted.
ALTER TABLE forge_servers ADD COLUMN api_login_sealed BLOB;
ALTER TABLE forge_servers ADD COLUMN ui_login_sealed BLOB;

-- Administrative calls and calls that were denied.
CREATE TABLE audit_events (
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    -- The id of the caller's key; NULL where nobody was recognised.
    key_id TEXT,
    caller TEXT NOT NULL,
    peer TEXT NOT NULL,
    method TEXT NOT NULL,
    -- What it was about: an alias, the id of a key, the name of a backup.
    target TEXT NOT NULL,
    -- How it was answered: the name of a gRPC code.
    code TEXT NOT NULL,
    request_id TEXT NOT NULL
);
