DROP TABLE availability_events;
DROP TABLE server_assets;
DROP TABLE server_model_files;
DROP TABLE server_inventories;

DROP INDEX idx_model_server_availability_server;
ALTER TABLE model_server_availability DROP COLUMN title;

DROP INDEX idx_model_aliases_model;
DROP INDEX idx_model_aliases_key;
ALTER TABLE model_aliases DROP COLUMN alias_key;

DROP INDEX idx_models_local_path;
DROP INDEX idx_models_sha256;
DROP INDEX idx_models_filename_key;
ALTER TABLE models DROP COLUMN filename_key;
