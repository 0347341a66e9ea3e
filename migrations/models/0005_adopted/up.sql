-- What the earlier application knew of a model and the documented table has no
-- column for. Other values of it are in `adoption_values`.

ALTER TABLE models ADD COLUMN preview_path TEXT;
ALTER TABLE models ADD COLUMN preview_url TEXT;
ALTER TABLE models ADD COLUMN civitai_nsfw BOOLEAN;
ALTER TABLE models ADD COLUMN civitai_blurhash TEXT;
-- Whether Civitai knew the file when it was asked.
ALTER TABLE models ADD COLUMN civitai_checked TEXT CHECK (civitai_checked IN ('found', 'not_found'));
-- Where the metadata comes from.
ALTER TABLE models ADD COLUMN metadata_source TEXT CHECK (metadata_source IN ('forge', 'civitai', 'embedded', 'none'));
ALTER TABLE models ADD COLUMN has_embedded_metadata BOOLEAN NOT NULL DEFAULT 0;
-- The earlier word, where the documented column has no place for it.
ALTER TABLE models ADD COLUMN older_metadata_status TEXT;
-- A short hash that may be wrong: nothing is found by it.
ALTER TABLE models ADD COLUMN untrusted_autov2 TEXT;
-- Duplicates as the earlier application saw them, by short hashes.
ALTER TABLE models ADD COLUMN is_duplicate BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE models ADD COLUMN duplicate_hash TEXT;
ALTER TABLE models ADD COLUMN duplicate_group_size INTEGER;
ALTER TABLE models ADD COLUMN duplicate_group_index INTEGER;
-- The row may be several files in one: what it says is to be read from the file.
ALTER TABLE models ADD COLUMN needs_rescan BOOLEAN NOT NULL DEFAULT 0;
