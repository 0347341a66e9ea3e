-- What a job's own policy says of retries, deadlines and unknown outcomes: an
-- object with the fields that it sets. The two moments that follow from it
-- are columns, since queues are looked through for them.
ALTER TABLE jobs ADD COLUMN policy_json TEXT NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN wait_until TEXT;
ALTER TABLE jobs ADD COLUMN deadline_at TEXT;
-- When the run began whose times are counted; NULL for the submission.
ALTER TABLE jobs ADD COLUMN run_began_at TEXT;
-- When a hold for a cooling server is over; and how large its largest pass is:
-- width by height by batch size, unknown for jobs of before.
ALTER TABLE jobs ADD COLUMN hold_until TEXT;
ALTER TABLE jobs ADD COLUMN pixels INTEGER;
-- What choosing reads, now with the policy and the size.
DROP INDEX idx_jobs_queue;
CREATE INDEX idx_jobs_queue ON jobs (
    priority DESC, queue_rank, mobilesd_job_id, target_server_alias, models_json,
    resolved_checkpoint, not_before, hold_reason, hold_message, attempt_number, run,
    policy_json, pixels
) WHERE status = 'pending';
CREATE INDEX idx_jobs_wait_until ON jobs (wait_until)
    WHERE status = 'pending' AND wait_until IS NOT NULL;
CREATE INDEX idx_jobs_deadline ON jobs (status, deadline_at)
    WHERE deadline_at IS NOT NULL AND status IN ('pending', 'processing');
-- Jobs to try again, in the order of their ends.
CREATE INDEX idx_jobs_retry ON jobs (
    status, coalesce(completion_timestamp, last_updated_timestamp), mobilesd_job_id
) WHERE status IN ('failed', 'cancelled');

-- How far an attempt came, how long that took, whether an earlier one of its
-- job could still be running when it began, and how many starts of the service
-- took it up.
ALTER TABLE job_attempts ADD COLUMN last_phase TEXT;
ALTER TABLE job_attempts ADD COLUMN loading_ms INTEGER;
ALTER TABLE job_attempts ADD COLUMN generating_ms INTEGER;
ALTER TABLE job_attempts ADD COLUMN possible_repeat BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE job_attempts ADD COLUMN recoveries INTEGER NOT NULL DEFAULT 0;

-- Whether a cancel may stop what runs on a server that cannot say whose it is.
ALTER TABLE forge_servers ADD COLUMN interrupts_allowed BOOLEAN NOT NULL DEFAULT 0;

-- What a server is not given for a while, since it failed with it: a model by
-- its title, or pictures of so many pixels and more.
CREATE TABLE server_cooldowns (
    server_alias TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('model', 'pixels')),
    subject TEXT NOT NULL,
    failures INTEGER NOT NULL,
    until TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (server_alias, kind, subject)
) WITHOUT ROWID;
