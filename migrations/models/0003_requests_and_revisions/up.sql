-- Counts the changes of what is registered of a model.
ALTER TABLE models ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;

-- What requests with an id of their own made, so that a repetition makes
-- nothing. What was made and is gone again is NULL.
CREATE TABLE request_ids (
    -- The caller's key; empty without keys.
    api_key TEXT NOT NULL,
    method TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- SHA-256 over the parsed content.
    fingerprint TEXT NOT NULL,
    model_id INTEGER REFERENCES models (id) ON DELETE SET NULL,
    alias_id INTEGER REFERENCES model_aliases (id) ON DELETE SET NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (api_key, method, request_id)
) WITHOUT ROWID;
CREATE INDEX idx_request_ids_created ON request_ids (created_at);
CREATE INDEX idx_request_ids_model ON request_ids (model_id);
CREATE INDEX idx_request_ids_alias ON request_ids (alias_id);
