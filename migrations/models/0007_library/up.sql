-- The library: files that this service reads itself, what they and Civitai say of models, and a
-- search over the words of models.

-- What the file, its sidecars and people say of a model.
ALTER TABLE models ADD COLUMN hash_autov1 TEXT;
ALTER TABLE models ADD COLUMN hash_autov3 TEXT;
ALTER TABLE models ADD COLUMN hash_blake3 TEXT;
ALTER TABLE models ADD COLUMN file_size_bytes INTEGER;
ALTER TABLE models ADD COLUMN file_modified_at TEXT;
ALTER TABLE models ADD COLUMN description TEXT;
ALTER TABLE models ADD COLUMN activation_text TEXT;
ALTER TABLE models ADD COLUMN preferred_weight REAL;
ALTER TABLE models ADD COLUMN negative_text TEXT;
ALTER TABLE models ADD COLUMN notes TEXT;
-- The family, such as SDXL, in the word of whoever said it.
ALTER TABLE models ADD COLUMN sd_version TEXT;
-- Whether Civitai's file is this file, or only of the same version.
ALTER TABLE models ADD COLUMN civitai_matched_by TEXT CHECK (civitai_matched_by IN ('file', 'version'));
-- Why Civitai's answer could not be had the last time; NULL when it could.
ALTER TABLE models ADD COLUMN civitai_error TEXT;
ALTER TABLE models ADD COLUMN enriched_at TEXT;

CREATE INDEX idx_models_autov3 ON models (hash_autov3);
CREATE INDEX idx_models_base ON models (civitai_model_base);
CREATE INDEX idx_models_civitai_version ON models (civitai_version_id);

-- Where the value of a field comes from. What somebody set by hand is never filled again.
CREATE TABLE model_field_sources (
    model_id INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    -- The column of models.
    field TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('manual', 'civitai', 'sidecar', 'embedded', 'file_name')),
    PRIMARY KEY (model_id, field)
) WITHOUT ROWID;

-- The roots that were configured, with what the last scan of each found.
CREATE TABLE library_roots (
    name TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    scanned_at TEXT,
    file_count INTEGER,
    problem_count INTEGER
) WITHOUT ROWID;

-- The model files beneath the roots.
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

CREATE INDEX idx_library_files_model ON library_files (model_id);
CREATE INDEX idx_library_files_inode ON library_files (device, inode);
CREATE INDEX idx_library_files_sha256 ON library_files (hash_sha256);
CREATE INDEX idx_library_files_unhashed ON library_files (root, id)
    WHERE hash_sha256 IS NULL AND missing_since IS NULL;
CREATE INDEX idx_library_files_missing ON library_files (model_id) WHERE missing_since IS NOT NULL;

-- What Civitai answered, to be used again until it expires.
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

-- A listing that lacks much has to say so twice before anything is removed.
ALTER TABLE server_inventories ADD COLUMN doubted_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE server_inventories ADD COLUMN doubted_since TEXT;
ALTER TABLE server_model_files ADD COLUMN doubted_since TEXT;

-- The words of models.
CREATE VIRTUAL TABLE models_search USING fts5 (
    name, filename, civitai_model_name, civitai_model_version_name, civitai_trained_words,
    description, activation_text, notes,
    content = 'models', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO models_search (models_search) VALUES ('rebuild');

CREATE TRIGGER models_search_insert AFTER INSERT ON models BEGIN
    INSERT INTO models_search (rowid, name, filename, civitai_model_name, civitai_model_version_name,
        civitai_trained_words, description, activation_text, notes)
    VALUES (new.id, new.name, new.filename, new.civitai_model_name, new.civitai_model_version_name,
        new.civitai_trained_words, new.description, new.activation_text, new.notes);
END;

CREATE TRIGGER models_search_delete AFTER DELETE ON models BEGIN
    INSERT INTO models_search (models_search, rowid, name, filename, civitai_model_name,
        civitai_model_version_name, civitai_trained_words, description, activation_text, notes)
    VALUES ('delete', old.id, old.name, old.filename, old.civitai_model_name,
        old.civitai_model_version_name, old.civitai_trained_words, old.description,
        old.activation_text, old.notes);
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
