DROP TABLE job_input_images;
DROP TABLE input_images;
