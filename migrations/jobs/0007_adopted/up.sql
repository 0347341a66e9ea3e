-- What a job sends that was taken over from the earlier application: made from
-- generation_params_json, which stays as it was. NULL for every other job.
ALTER TABLE jobs ADD COLUMN adopted_request_json TEXT;

-- What the earlier application kept of a key's rates; kept here, not applied.
ALTER TABLE api_keys ADD COLUMN rate_limit_tier TEXT;
ALTER TABLE api_keys ADD COLUMN custom_rate_limits TEXT;

-- When this database was taken over from the earlier application, and when its
-- list of servers was; no row in a database that never was.
CREATE TABLE adoption (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    adopted_at TEXT NOT NULL,
    servers_imported_at TEXT
);
