DROP TABLE model_server_availability;
DROP TABLE model_aliases;
DROP TABLE models;
