-- Files of deleted jobs that are still to be looked at: written with the
-- deletion, taken off when the file is gone or found to be used. Files that no
-- row names are left alone, since a restored database may not know them yet.
CREATE TABLE unneeded_files (
    sha256 TEXT NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (sha256, media_type)
) WITHOUT ROWID;
