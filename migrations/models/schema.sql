-- The schema of mobilesd_models.sqlite after all migrations, without the
-- bookkeeping of migrations. A test keeps it current.

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

CREATE TABLE availability_events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL CHECK (type IN ('added', 'removed', 'inventory_changed', 'registry_changed')),
    server_id TEXT NOT NULL DEFAULT '',
    model_id INTEGER,
    created_at TEXT NOT NULL
);

CREATE TABLE civitai_answers (
    -- 'sha256:…' in lower case, or 'version:…'.
    question TEXT PRIMARY KEY,
    found BOOLEAN NOT NULL,
    -- The version as Civitai gave it, as JSON; NULL when it was not found.
    answer_json TEXT,
    asked_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
) WITHOUT ROWID;

CREATE INDEX idx_civitai_answers_expires ON civitai_answers (expires_at);

CREATE TABLE library_files (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    -- Beneath the root, in the bytes of the file system, which need not be UTF-8.
    path BLOB NOT NULL,
    model_id INTEGER REFERENCES models (id) ON DELETE SET NULL,
    size_bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    -- Of the names, sizes and times of what lies beside it: sidecars and previews.
    beside_stamp TEXT NOT NULL,
    -- Beneath the root; NULL when there is none.
    preview_path BLOB,
    -- Why its header cannot be read; NULL when it can, or has none.
    header_problem TEXT,
    first_seen_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    -- Since when it is not there any more; NULL while it is.
    missing_since TEXT,
    -- Of the whole file, taken when it had this size and time.
    hash_sha256 TEXT,
    hash_autov1 TEXT,
    hash_autov3 TEXT,
    hash_blake3 TEXT,
    hashed_size_bytes INTEGER,
    hashed_modified_ns INTEGER,
    -- When they were taken.
    hashed_at TEXT,
    UNIQUE (root, path)
);

CREATE INDEX idx_library_files_inode ON library_files (device, inode);

CREATE INDEX idx_library_files_missing ON library_files (model_id) WHERE missing_since IS NOT NULL;

CREATE INDEX idx_library_files_model ON library_files (model_id);

CREATE INDEX idx_library_files_sha256 ON library_files (hash_sha256);

CREATE INDEX idx_library_files_unhashed ON library_files (root, id)
    WHERE hash_sha256 IS NULL AND missing_since IS NULL;

CREATE TABLE library_roots (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    scanned_at TEXT,
    file_count INTEGER,
    problem_count INTEGER
) WITHOUT ROWID;

CREATE TABLE model_aliases (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL,
    alias_path TEXT NOT NULL, alias_key TEXT GENERATED ALWAYS AS (lower(replace(alias_path, '\', '/'))) VIRTUAL,
    FOREIGN KEY (model_id) REFERENCES models(id) ON DELETE CASCADE
);

CREATE INDEX idx_model_aliases_key ON model_aliases (alias_key);

CREATE INDEX idx_model_aliases_model ON model_aliases (model_id, id);

CREATE INDEX idx_model_aliases_path ON model_aliases (alias_path);

CREATE TABLE model_field_sources (
    model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    -- The column of models.
    field TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('manual', 'civitai', 'sidecar', 'embedded', 'file_name')),
    PRIMARY KEY (model_id, field)
) WITHOUT ROWID;

CREATE TABLE model_server_availability (
    id INTEGER PRIMARY KEY,
    model_id INTEGER NOT NULL,
    server_id TEXT NOT NULL,
    last_seen TIMESTAMP DEFAULT CURRENT_TIMESTAMP, title TEXT,
    FOREIGN KEY (model_id) REFERENCES models(id) ON DELETE CASCADE,
    UNIQUE(model_id, server_id)
);

CREATE INDEX idx_model_server_availability ON model_server_availability (model_id, server_id);

CREATE INDEX idx_model_server_availability_server ON model_server_availability (server_id, model_id);

CREATE TRIGGER models_search_delete AFTER DELETE ON models BEGIN
    INSERT INTO models_search (models_search, rowid, name, filename, civitai_model_name,
        civitai_model_version_name, civitai_trained_words, description, activation_text, notes)
    VALUES ('delete', old.id, old.name, old.filename, old.civitai_model_name,
        old.civitai_model_version_name, old.civitai_trained_words, old.description,
        old.activation_text, old.notes);
END;

CREATE TRIGGER models_search_insert AFTER INSERT ON models BEGIN
    INSERT INTO models_search (rowid, name, filename, civitai_model_name, civitai_model_version_name,
        civitai_trained_words, description, activation_text, notes)
    VALUES (new.id, new.name, new.filename, new.civitai_model_name, new.civitai_model_version_name,
        new.civitai_trained_words, new.description, new.activation_text, new.notes);
END;

CREATE TRIGGER models_search_update AFTER UPDATE OF id, name, filename, civitai_model_name,
    civitai_model_version_name, civitai_trained_words, description, activation_text, notes ON models
BEGIN
    INSERT INTO models_search (models_search, rowid, name, filename, civitai_model_name,
        civitai_model_version_name, civitai_trained_words, description, activation_text, notes)
    VALUES ('delete', old.id, old.name, old.filename, old.civitai_model_name,
        old.civitai_model_version_name, old.civitai_trained_words, old.description,
        old.activation_text, old.notes);
    INSERT INTO models_search (rowid, name, filename, civitai_model_name, civitai_model_version_name,
        civitai_trained_words, description, activation_text, notes)
    VALUES (new.id, new.name, new.filename, new.civitai_model_name, new.civitai_model_version_name,
        new.civitai_trained_words, new.description, new.activation_text, new.notes);
END;

CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT NOT NULL CHECK (type IN ('checkpoint', 'lora')),
    local_path TEXT NOT NULL,
    filename TEXT NOT NULL,
    civitai_id TEXT,
    civitai_version_id TEXT,
    forge_format TEXT,
    hash_autov2 TEXT,
    hash_sha256 TEXT,
    civitai_model_name TEXT,
    civitai_model_base TEXT,
    civitai_model_type TEXT,
    civitai_model_version_name TEXT,
    civitai_model_version_desc TEXT,
    civitai_model_version_date TEXT,
    civitai_download_url TEXT,
    civitai_trained_words TEXT,
    civitai_file_size_kb INTEGER,
    metadata_status TEXT NOT NULL DEFAULT 'incomplete' CHECK (metadata_status IN ('complete', 'incomplete', 'error')),
    last_used TIMESTAMP,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
, filename_key TEXT GENERATED ALWAYS AS (lower(filename)) VIRTUAL, revision INTEGER NOT NULL DEFAULT 1, preview_path TEXT, preview_url TEXT, civitai_nsfw BOOLEAN, civitai_blurhash TEXT, civitai_checked TEXT CHECK (civitai_checked IN ('found', 'not_found')), metadata_source TEXT CHECK (metadata_source IN ('forge', 'civitai', 'embedded', 'none')), has_embedded_metadata BOOLEAN NOT NULL DEFAULT 0, older_metadata_status TEXT, untrusted_autov2 TEXT, is_duplicate BOOLEAN NOT NULL DEFAULT 0, duplicate_hash TEXT, duplicate_group_size INTEGER, duplicate_group_index INTEGER, needs_rescan BOOLEAN NOT NULL DEFAULT 0, hash_autov1 TEXT, hash_autov3 TEXT, hash_blake3 TEXT, file_size_bytes INTEGER, file_modified_at TEXT, description TEXT, activation_text TEXT, preferred_weight REAL, negative_text TEXT, notes TEXT, sd_version TEXT, civitai_matched_by TEXT CHECK (civitai_matched_by IN ('file', 'version')), civitai_error TEXT, enriched_at TEXT);

CREATE INDEX idx_models_autov3 ON models (hash_autov3);

CREATE INDEX idx_models_base ON models (civitai_model_base);

CREATE INDEX idx_models_civitai_ids ON models (civitai_id, civitai_version_id);

CREATE INDEX idx_models_civitai_version ON models (civitai_version_id);

CREATE INDEX idx_models_filename_key ON models (filename_key);

CREATE INDEX idx_models_hashes ON models (hash_autov2, hash_sha256);

CREATE INDEX idx_models_local_path ON models (local_path);

CREATE INDEX idx_models_metadata_status ON models (metadata_status);

CREATE INDEX idx_models_sha256 ON models (hash_sha256);

CREATE INDEX idx_models_type_filename ON models (type, filename);

CREATE VIRTUAL TABLE models_search USING fts5 (
    name, filename, civitai_model_name, civitai_model_version_name, civitai_trained_words,
    description, activation_text, notes,
    content = 'models', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);

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

CREATE INDEX idx_request_ids_alias ON request_ids (alias_id);

CREATE INDEX idx_request_ids_created ON request_ids (created_at);

CREATE INDEX idx_request_ids_model ON request_ids (model_id);

CREATE TABLE server_assets (
    server_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('module', 'upscaler', 'sampler', 'scheduler', 'script')),
    name TEXT NOT NULL,
    PRIMARY KEY (server_id, kind, name)
) WITHOUT ROWID;

CREATE TABLE server_inventories (
    server_id TEXT PRIMARY KEY,
    generation TEXT NOT NULL,
    synced_at TEXT NOT NULL,
    checkpoint_count INTEGER NOT NULL,
    lora_count INTEGER NOT NULL,
    asset_count INTEGER NOT NULL
, doubted_count INTEGER NOT NULL DEFAULT 0, doubted_since TEXT) WITHOUT ROWID;

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
    alias_key TEXT NOT NULL, doubted_since TEXT,
    UNIQUE (server_id, item_key)
);

CREATE INDEX idx_server_model_files_alias ON server_model_files (alias_key);

CREATE INDEX idx_server_model_files_filename ON server_model_files (filename_key);

CREATE INDEX idx_server_model_files_model ON server_model_files (model_id, server_id);

CREATE INDEX idx_server_model_files_title ON server_model_files (title_key);
