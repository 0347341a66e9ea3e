-- Long work that is not a job. A row outlives the process that works on it.
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
