-- What the dispatcher needs beyond the documented schema: every column has a
-- default, so that a reader of the documented columns goes on working.

-- A job's place in the queue, what it waits for, and what it may spend.
ALTER TABLE jobs ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN endpoint TEXT NOT NULL DEFAULT 'txt2img';
ALTER TABLE jobs ADD COLUMN backend TEXT NOT NULL DEFAULT 'forge';
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN queue_rank INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN models_json TEXT NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN resolved_checkpoint TEXT;
ALTER TABLE jobs ADD COLUMN resolved_seed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN resolved_subseed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN run INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN attempt_number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN attempts_spent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN attempts_max INTEGER NOT NULL DEFAULT 3;
ALTER TABLE jobs ADD COLUMN not_before TEXT;
ALTER TABLE jobs ADD COLUMN hold_reason TEXT;
ALTER TABLE jobs ADD COLUMN hold_message TEXT;
ALTER TABLE jobs ADD COLUMN hold_since TEXT;
ALTER TABLE jobs ADD COLUMN cancel_requested_at TEXT;
ALTER TABLE jobs ADD COLUMN error_code TEXT;
ALTER TABLE jobs ADD COLUMN labels_json TEXT NOT NULL DEFAULT '{}';

-- The queue in the order of dispatch, with everything that choosing reads, so
-- that a pass never touches the rows with their large parameters.
CREATE INDEX idx_jobs_queue ON jobs (
    priority DESC, queue_rank, mobilesd_job_id, target_server_alias, models_json,
    resolved_checkpoint, not_before, hold_reason, hold_message, attempt_number, run
) WHERE status = 'pending';
CREATE INDEX idx_jobs_due ON jobs (not_before) WHERE status = 'pending' AND not_before IS NOT NULL;
CREATE INDEX idx_jobs_processing ON jobs (mobilesd_job_id) WHERE status = 'processing';
CREATE INDEX idx_jobs_creation ON jobs (creation_timestamp, mobilesd_job_id);
CREATE INDEX idx_jobs_updated ON jobs (last_updated_timestamp, mobilesd_job_id);

-- One try of a job on one server.
CREATE TABLE job_attempts (
    job_id TEXT NOT NULL REFERENCES jobs (mobilesd_job_id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    run INTEGER NOT NULL,
    token TEXT NOT NULL UNIQUE,
    server_alias TEXT NOT NULL,
    server_process TEXT,
    phase TEXT NOT NULL,
    outcome TEXT,
    spent BOOLEAN NOT NULL DEFAULT 1,
    claimed_at TEXT NOT NULL,
    sent_at TEXT,
    ended_at TEXT,
    error_code TEXT,
    http_status INTEGER,
    message TEXT,
    models_json TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
-- A server holds one attempt of ours, and a job one attempt, at a time.
CREATE UNIQUE INDEX idx_job_attempts_open_server ON job_attempts (server_alias) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX idx_job_attempts_open_job ON job_attempts (job_id) WHERE ended_at IS NULL;

-- What happened to jobs, in the order in which it was committed. Kept when a
-- job is deleted, so that watchers learn of it.
CREATE TABLE job_events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    server_alias TEXT NOT NULL DEFAULT '',
    phase TEXT,
    outcome TEXT,
    hold_reason TEXT,
    message TEXT NOT NULL DEFAULT ''
);
CREATE INDEX idx_job_events_job ON job_events (job_id, sequence);

-- The images of a job; the files are named by their digest.
CREATE TABLE job_images (
    job_id TEXT NOT NULL REFERENCES jobs (mobilesd_job_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    kind TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    infotext TEXT NOT NULL,
    verification TEXT NOT NULL,
    media_type TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    PRIMARY KEY (job_id, position)
) WITHOUT ROWID;
CREATE INDEX idx_job_images_sha256 ON job_images (sha256);

-- The Forge servers that jobs run on.
CREATE TABLE forge_servers (
    alias TEXT PRIMARY KEY NOT NULL,
    base_url TEXT NOT NULL,
    usage TEXT NOT NULL CHECK (usage IN ('dedicated', 'shared')),
    labels_json TEXT NOT NULL DEFAULT '{}',
    enabled BOOLEAN NOT NULL DEFAULT 1,
    cordoned BOOLEAN NOT NULL DEFAULT 0,
    cordon_reason TEXT NOT NULL DEFAULT '',
    baseline_options_json TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
