-- An older program knows no job that waits for a decision, and would send what
-- it cannot read: such a job is cancelled, and the others are sent as they
-- would be here.
UPDATE jobs
SET status = 'cancelled', completion_timestamp = last_updated_timestamp,
    hold_reason = NULL, hold_message = NULL, hold_since = NULL
WHERE hold_reason IN ('adopted_stale', 'adopted_unreadable');
UPDATE jobs SET generation_params_json = adopted_request_json
WHERE adopted_request_json IS NOT NULL AND status IN ('pending', 'processing');

DROP TABLE adoption;
ALTER TABLE api_keys DROP COLUMN custom_rate_limits;
ALTER TABLE api_keys DROP COLUMN rate_limit_tier;
ALTER TABLE jobs DROP COLUMN adopted_request_json;
