-- An older program knows neither the new outcomes nor the new hold.
UPDATE job_attempts SET outcome = 'lost'
WHERE outcome IN ('abandoned', 'expired', 'crashed');
UPDATE job_events SET outcome = 'lost'
WHERE outcome IN ('abandoned', 'expired', 'crashed');
UPDATE job_events SET type = 'updated' WHERE type = 'retried';
UPDATE job_events SET hold_reason = 'server_unavailable' WHERE hold_reason = 'cooling_down';
UPDATE jobs SET hold_reason = 'server_unavailable' WHERE hold_reason = 'cooling_down';

DROP TABLE server_cooldowns;
ALTER TABLE forge_servers DROP COLUMN interrupts_allowed;
ALTER TABLE job_attempts DROP COLUMN recoveries;
ALTER TABLE job_attempts DROP COLUMN possible_repeat;
ALTER TABLE job_attempts DROP COLUMN generating_ms;
ALTER TABLE job_attempts DROP COLUMN loading_ms;
ALTER TABLE job_attempts DROP COLUMN last_phase;
DROP INDEX idx_jobs_retry;
DROP INDEX idx_jobs_queue;
CREATE INDEX idx_jobs_queue ON jobs (
    priority DESC, queue_rank, mobilesd_job_id, target_server_alias, models_json,
    resolved_checkpoint, not_before, hold_reason, hold_message, attempt_number, run
) WHERE status = 'pending';
ALTER TABLE jobs DROP COLUMN pixels;
ALTER TABLE jobs DROP COLUMN hold_until;
DROP INDEX idx_jobs_deadline;
DROP INDEX idx_jobs_wait_until;
ALTER TABLE jobs DROP COLUMN run_began_at;
ALTER TABLE jobs DROP COLUMN deadline_at;
ALTER TABLE jobs DROP COLUMN wait_until;
ALTER TABLE jobs DROP COLUMN policy_json;
