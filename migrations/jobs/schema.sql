-- The schema of mobilesd_jobs.sqlite after all migrations, without the
-- bookkeeping of migrations. A test keeps it current.

CREATE TABLE adoption (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    adopted_at TEXT NOT NULL,
    servers_imported_at TEXT
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    key_prefix TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    secret_hash TEXT NOT NULL,
    created_at TEXT NOT NULL,
    last_used TEXT,
    is_active BOOLEAN DEFAULT 1,
    permissions TEXT,
    description TEXT
, revision INTEGER NOT NULL DEFAULT 1, expires_at TEXT, queued_jobs_max INTEGER, watches_max INTEGER, old_secret_hash TEXT, old_secret_expires_at TEXT, rate_limit_tier TEXT, custom_rate_limits TEXT);

CREATE INDEX idx_api_keys_active ON api_keys (is_active);

CREATE INDEX idx_api_keys_created ON api_keys (created_at, id);

CREATE INDEX idx_api_keys_key_prefix ON api_keys (key_prefix);

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

CREATE TABLE authentication (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    required_since TEXT NOT NULL
);

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
, api_login_sealed BLOB, ui_login_sealed BLOB, interrupts_allowed BOOLEAN NOT NULL DEFAULT 0) WITHOUT ROWID;

CREATE TABLE input_images (
    sha256 TEXT PRIMARY KEY NOT NULL,
    created_at TEXT NOT NULL,
    bytes BLOB NOT NULL
);

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
    models_json TEXT NOT NULL DEFAULT '[]', last_phase TEXT, loading_ms INTEGER, generating_ms INTEGER, possible_repeat BOOLEAN NOT NULL DEFAULT 0, recoveries INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

CREATE UNIQUE INDEX idx_job_attempts_open_job ON job_attempts (job_id) WHERE ended_at IS NULL;

CREATE UNIQUE INDEX idx_job_attempts_open_server ON job_attempts (server_alias) WHERE ended_at IS NULL;

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

CREATE TABLE job_input_images (
    job_id TEXT NOT NULL REFERENCES jobs (mobilesd_job_id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL REFERENCES input_images (sha256),
    PRIMARY KEY (job_id, sha256)
) WITHOUT ROWID;

CREATE INDEX idx_job_input_images_sha256 ON job_input_images (sha256);

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

CREATE TRIGGER jobs_moved_by_key AFTER UPDATE OF status ON jobs
WHEN NEW.api_key_id IS NOT NULL AND OLD.status <> NEW.status
    AND 'pending' IN (OLD.status, NEW.status)
BEGIN
    INSERT INTO key_totals (key_id, jobs) VALUES (NEW.api_key_id, 1)
        ON CONFLICT (key_id) DO UPDATE
        SET jobs = jobs + (NEW.status = 'pending') - (OLD.status = 'pending');
END;

CREATE TRIGGER jobs_queued AFTER INSERT ON jobs WHEN NEW.status = 'pending'
BEGIN
    UPDATE queue_totals
    SET jobs = jobs + 1, request_bytes = request_bytes + NEW.request_bytes WHERE id = 1;
END;

CREATE TRIGGER jobs_queued_by_key AFTER INSERT ON jobs
WHEN NEW.status = 'pending' AND NEW.api_key_id IS NOT NULL
BEGIN
    INSERT INTO key_totals (key_id, jobs) VALUES (NEW.api_key_id, 1)
        ON CONFLICT (key_id) DO UPDATE SET jobs = jobs + 1;
END;

CREATE TRIGGER jobs_unqueued AFTER DELETE ON jobs WHEN OLD.status = 'pending'
BEGIN
    UPDATE queue_totals
    SET jobs = jobs - 1, request_bytes = request_bytes - OLD.request_bytes WHERE id = 1;
END;

CREATE TRIGGER jobs_unqueued_by_key AFTER DELETE ON jobs
WHEN OLD.status = 'pending' AND OLD.api_key_id IS NOT NULL
BEGIN
    UPDATE key_totals SET jobs = jobs - 1 WHERE key_id = OLD.api_key_id;
END;

CREATE TABLE jobs (
    mobilesd_job_id TEXT PRIMARY KEY,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    creation_timestamp TEXT NOT NULL,
    last_updated_timestamp TEXT NOT NULL,
    completion_timestamp TEXT,
    target_server_alias TEXT NOT NULL,
    forge_session_hash TEXT,
    generation_params_json TEXT NOT NULL,
    result_details_json TEXT,
    retry_count INTEGER DEFAULT 0,
    forge_internal_task_id TEXT,
    app_type TEXT DEFAULT 'forge',
    source_info TEXT,
    api_key_id TEXT
, revision INTEGER NOT NULL DEFAULT 1, endpoint TEXT NOT NULL DEFAULT 'txt2img', backend TEXT NOT NULL DEFAULT 'forge', priority INTEGER NOT NULL DEFAULT 0, queue_rank INTEGER NOT NULL DEFAULT 0, models_json TEXT NOT NULL DEFAULT '[]', resolved_checkpoint TEXT, resolved_seed INTEGER NOT NULL DEFAULT 0, resolved_subseed INTEGER NOT NULL DEFAULT 0, run INTEGER NOT NULL DEFAULT 1, attempt_number INTEGER NOT NULL DEFAULT 0, attempts_spent INTEGER NOT NULL DEFAULT 0, attempts_max INTEGER NOT NULL DEFAULT 3, not_before TEXT, hold_reason TEXT, hold_message TEXT, hold_since TEXT, cancel_requested_at TEXT, error_code TEXT, labels_json TEXT NOT NULL DEFAULT '{}', batch_id TEXT, request_bytes INTEGER NOT NULL DEFAULT 0, adopted_request_json TEXT, policy_json TEXT NOT NULL DEFAULT '{}', wait_until TEXT, deadline_at TEXT, run_began_at TEXT, hold_until TEXT, pixels INTEGER, adopted BOOLEAN NOT NULL DEFAULT 0);

CREATE INDEX idx_jobs_batch ON jobs (batch_id, creation_timestamp, mobilesd_job_id)
    WHERE batch_id IS NOT NULL;

CREATE INDEX idx_jobs_creation ON jobs (creation_timestamp, mobilesd_job_id);

CREATE INDEX idx_jobs_deadline ON jobs (status, deadline_at)
    WHERE deadline_at IS NOT NULL AND status IN ('pending', 'processing');

CREATE INDEX idx_jobs_due ON jobs (not_before) WHERE status = 'pending' AND not_before IS NOT NULL;

CREATE INDEX idx_jobs_key ON jobs (api_key_id, creation_timestamp, mobilesd_job_id);

CREATE INDEX idx_jobs_key_updated ON jobs (api_key_id, last_updated_timestamp, mobilesd_job_id)
    WHERE api_key_id IS NOT NULL;

CREATE INDEX idx_jobs_processing ON jobs (mobilesd_job_id) WHERE status = 'processing';

CREATE INDEX idx_jobs_queue ON jobs (
    priority DESC, queue_rank, mobilesd_job_id, target_server_alias, models_json,
    resolved_checkpoint, not_before, hold_reason, hold_message, attempt_number, run,
    policy_json, pixels
) WHERE status = 'pending';

CREATE INDEX idx_jobs_retry ON jobs (
    status, coalesce(completion_timestamp, last_updated_timestamp), mobilesd_job_id
) WHERE status IN ('failed', 'cancelled');

CREATE INDEX idx_jobs_status_creation ON jobs (status, creation_timestamp);

CREATE INDEX idx_jobs_updated ON jobs (last_updated_timestamp, mobilesd_job_id);

CREATE INDEX idx_jobs_wait_until ON jobs (wait_until)
    WHERE status = 'pending' AND wait_until IS NOT NULL;

CREATE TABLE key_totals (
    key_id TEXT PRIMARY KEY NOT NULL,
    jobs INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE operations (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled')),
    target TEXT NOT NULL DEFAULT '',
    -- What was asked for: enough to begin again after a restart.
    request_json TEXT NOT NULL DEFAULT '{}',
    -- The caller's key, NULL where nobody was recognised or the service began it itself.
    key_id TEXT,
    caller TEXT NOT NULL DEFAULT '',
    -- The caller's own id of the call, NULL where there is none.
    request_id TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    ended_at TEXT,
    cancel_requested_at TEXT,
    starts INTEGER NOT NULL DEFAULT 0,
    -- Which life of the database it belongs to: a restored backup holds the row of its own making.
    epoch TEXT NOT NULL DEFAULT '',
    progress_done INTEGER,
    progress_total INTEGER,
    progress_unit TEXT NOT NULL DEFAULT '',
    -- The number of a gRPC code.
    error_code INTEGER,
    error_reason TEXT,
    error_message TEXT,
    result_json TEXT
) WITHOUT ROWID;

CREATE INDEX idx_operations_created ON operations (created_at DESC, id DESC);

CREATE UNIQUE INDEX idx_operations_request ON operations (ifnull(key_id, ''), kind, request_id)
    WHERE request_id IS NOT NULL;

CREATE TABLE queue_totals (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    jobs INTEGER NOT NULL,
    request_bytes INTEGER NOT NULL
);

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

CREATE TABLE server_cooldowns (
    server_alias TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('model', 'pixels')),
    subject TEXT NOT NULL,
    failures INTEGER NOT NULL,
    until TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (server_alias, kind, subject)
) WITHOUT ROWID;

CREATE TABLE unneeded_files (
    sha256 TEXT NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (sha256, media_type)
) WITHOUT ROWID;
