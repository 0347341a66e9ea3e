-- Whether what a job asks for stands in generation_params_json in the words of
-- the earlier application: it was taken over with its database or from a file
-- of it, and was given no other input since.
ALTER TABLE jobs ADD COLUMN adopted BOOLEAN NOT NULL DEFAULT 0;
UPDATE jobs SET adopted = 1 WHERE adopted_request_json IS NOT NULL;
-- One that had ended there was never read; one of ours has the size of its
-- request.
UPDATE jobs SET adopted = 1
WHERE status IN ('completed', 'failed', 'cancelled') AND request_bytes = 0
    AND attempt_number = 0;
-- One that could not be read, held or cancelled since, has no seeds; one of
-- ours has drawn its own.
UPDATE jobs SET adopted = 1
WHERE adopted_request_json IS NULL AND pixels IS NULL AND models_json = '[]'
    AND resolved_seed = 0 AND resolved_subseed = 0
    AND (hold_reason IS 'adopted_unreadable' OR status = 'cancelled'
        OR creation_timestamp < (SELECT adopted_at FROM adoption));
