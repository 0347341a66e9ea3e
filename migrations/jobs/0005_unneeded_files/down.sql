DROP TABLE unneeded_files;
