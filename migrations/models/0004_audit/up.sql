-- Administrative calls and calls that were denied.
CREATE TABLE audit_events (
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,
    -- The id of the caller's token; NULL where nobody was recognised.
    key_id TEXT,
    caller TEXT NOT NULL,
    peer TEXT NOT NULL,
    method TEXT NOT NULL,
    -- What it was about: the name of a backup, an id.
    target TEXT NOT NULL,
    -- How it was answered: the name of a gRPC code.
    code TEXT NOT NULL,
    request_id TEXT NOT NULL
);
