-- The pictures that jobs begin from, beside the jobs: SQLite writes a whole
-- row anew with every change of it, and a job changes many times.
CREATE TABLE input_images (
    sha256 TEXT PRIMARY KEY NOT NULL,
    created_at TEXT NOT NULL,
    bytes BLOB NOT NULL
);

CREATE TABLE job_input_images (
    job_id TEXT NOT NULL REFERENCES jobs (mobilesd_job_id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL REFERENCES input_images (sha256),
    PRIMARY KEY (job_id, sha256)
) WITHOUT ROWID;
CREATE INDEX idx_job_input_images_sha256 ON job_input_images (sha256);
