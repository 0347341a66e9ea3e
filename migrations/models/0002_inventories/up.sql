-- What model-service needs beyond the documented schema. Columns whose name
-- ends in `_key` hold a name as references are compared: `/` between folders
-- and ASCII letters in lower case.

-- Lookups by hash, by name and by server that no documented index serves.
ALTER TABLE models ADD COLUMN filename_key TEXT GENERATED ALWAYS AS (lower(filename)) VIRTUAL;
CREATE INDEX idx_models_filename_key ON models (filename_key);
CREATE INDEX idx_models_sha256 ON models (hash_sha256);
CREATE INDEX idx_models_local_path ON models (local_path);

ALTER TABLE model_aliases ADD COLUMN alias_key TEXT GENERATED ALWAYS AS (lower(replace(alias_path, '\', '/'))) VIRTUAL;
CREATE INDEX idx_model_aliases_key ON model_aliases (alias_key);
CREATE INDEX idx_model_aliases_model ON model_aliases (model_id, id);

-- The title by which the server knows the model.
ALTER TABLE model_server_availability ADD COLUMN title TEXT;
CREATE INDEX idx_model_server_availability_server ON model_server_availability (server_id, model_id);

-- The last inventory of each server.
CREATE TABLE server_inventories (
    server_id TEXT PRIMARY KEY,
    generation TEXT NOT NULL,
    synced_at TEXT NOT NULL,
    checkpoint_count INTEGER NOT NULL,
    lora_count INTEGER NOT NULL,
    asset_count INTEGER NOT NULL
) WITHOUT ROWID;

-- Each file that a server has, under every name it has there. One model can be
-- several files of a server, which the documented table cannot say.
CREATE TABLE server_model_files (
    id INTEGER PRIMARY KEY,
    server_id TEXT NOT NULL,
    model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    -- Names the file within its server: its kind and its path, or title.
    item_key TEXT NOT NULL,
    -- Whether an inventory lists it or SetModelAvailability said so.
    source TEXT NOT NULL CHECK (source IN ('listed', 'set')),
    title TEXT NOT NULL,
    path TEXT NOT NULL,
    alias TEXT NOT NULL,
    -- What the server itself says, which can be less than the registry knows.
    sha256 TEXT,
    title_key TEXT NOT NULL,
    filename_key TEXT NOT NULL,
    alias_key TEXT NOT NULL,
    UNIQUE (server_id, item_key)
);
CREATE INDEX idx_server_model_files_model ON server_model_files (model_id, server_id);
CREATE INDEX idx_server_model_files_title ON server_model_files (title_key);
CREATE INDEX idx_server_model_files_filename ON server_model_files (filename_key);
CREATE INDEX idx_server_model_files_alias ON server_model_files (alias_key);

-- Other things that a server has and jobs can need.
CREATE TABLE server_assets (
    server_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('module', 'upscaler', 'sampler', 'scheduler', 'script')),
    name TEXT NOT NULL,
    PRIMARY KEY (server_id, kind, name)
) WITHOUT ROWID;

-- What changed, numbered for watchers; numbers are never used twice.
CREATE TABLE availability_events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL CHECK (type IN ('added', 'removed', 'inventory_changed', 'registry_changed')),
    server_id TEXT NOT NULL DEFAULT '',
    model_id INTEGER,
    created_at TEXT NOT NULL
);
